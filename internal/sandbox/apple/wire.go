package apple

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// A listed container is one of "container list --format json".
type listed struct {
	Configuration struct {
		ID     string            `json:"id"`
		Labels map[string]string `json:"labels"`
		Image  struct {
			Descriptor descriptor `json:"descriptor"`
		} `json:"image"`
	} `json:"configuration"`
	Status status `json:"status"`
}

type descriptor struct {
	Digest string `json:"digest"`
}

// A status is a word up to version 0.12, and an object with that word from 1.0 on (ManagedContainer.swift).
type status string

func (s *status) UnmarshalJSON(data []byte) error {
	var object struct{ State *string }
	if err := json.Unmarshal(data, &object); err == nil && object.State != nil {
		*s = status(*object.State)
		return nil
	}
	var word string
	if err := json.Unmarshal(data, &word); err != nil {
		return errors.New("a container's status is neither a word nor has it a state")
	}
	*s = status(word)
	return nil
}

// parseList reads "container list --format json". Whatever is not a list of containers with names is an error: a
// container that is missing in it counts as gone.
func parseList(data []byte) ([]listed, error) {
	var list []listed
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%w: list of containers: %w", errFormat, err)
	}
	if list == nil {
		return nil, fmt.Errorf("%w: list of containers: it is null", errFormat)
	}
	for _, c := range list {
		if c.Configuration.ID == "" {
			return nil, fmt.Errorf("%w: list of containers: one has no id", errFormat)
		}
	}
	return list, nil
}

// errFormat is returned for output in another form than the command is known to have.
var errFormat = errors.New("Apple's container command answers in a form that moat does not know")

// An inspected image is one of "container image inspect".
type inspected struct {
	Index    descriptor `json:"index"`
	Variants []variant  `json:"variants"`
}

type variant struct {
	Platform struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
	Config struct {
		Config struct {
			User       string
			Env        []string
			Entrypoint []string
			Cmd        []string
			WorkingDir string
		} `json:"config"`
	} `json:"config"`
}

// parseImage reads "container image inspect" of one image.
func parseImage(data []byte) (inspected, error) {
	var list []inspected
	if err := json.Unmarshal(data, &list); err != nil {
		return inspected{}, fmt.Errorf("%w: image: %w", errFormat, err)
	}
	if len(list) != 1 || list[0].Index.Digest == "" {
		return inspected{}, fmt.Errorf("%w: image: %d of them, or one without a digest", errFormat, len(list))
	}
	return list[0], nil
}

// oldest is the first version whose containers can be kept without a network and without capabilities, and whose exec takes more
// than 64 KiB of input.
const oldest = 1

// parseVersion reads "container --version": "container CLI version 1.2.0 (build: release, commit: 6e65319)".
func parseVersion(text string) (major int, version string, err error) {
	m := regexp.MustCompile(`\bversion v?(\d+)\.(\d+)\S*`).FindStringSubmatch(text)
	if m == nil {
		return 0, "", fmt.Errorf("%w: version %.100q", errFormat, text)
	}
	if major, err = strconv.Atoi(m[1]); err != nil {
		return 0, "", fmt.Errorf("%w: version %.100q", errFormat, text)
	}
	return major, m[0][len("version "):], nil
}
