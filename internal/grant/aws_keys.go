package grant

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// awsTime bounds the program aws, which may have to talk to a single sign-on.
const awsTime = time.Minute

// parseAWS reads keys in the ways in which they are passed on: what "aws configure export-credentials" prints, a section of
// ~/.aws/credentials, or two or three lines with ID, secret and session token. Errors hold nothing of the text.
func parseAWS(text string) (Credential, error) {
	text = strings.TrimSpace(text)
	var keys map[string]string
	switch {
	case text == "":
		return Credential{}, errors.New("there are no keys")
	case text[0] == '{':
		var err error
		if keys, err = awsFromJSON(text); err != nil {
			return Credential{}, err
		}
	case strings.Contains(text, "aws_access_key_id"):
		keys = awsFromINI(text, "")
	default:
		lines := strings.Fields(text)
		if len(lines) < 2 || len(lines) > 3 {
			return Credential{}, errors.New("the keys are an ID, a secret and perhaps a session token, a line each")
		}
		keys = map[string]string{"aws_access_key_id": lines[0], "aws_secret_access_key": lines[1]}
		if len(lines) == 3 {
			keys["aws_session_token"] = lines[2]
		}
	}
	return awsCredential(keys)
}

func awsFromJSON(text string) (map[string]string, error) {
	var printed struct{ AccessKeyID, SecretAccessKey, SessionToken, Expiration, Region string }
	if json.Unmarshal([]byte(text), &printed) != nil {
		return nil, errors.New(`the keys are not what "aws configure export-credentials" prints`)
	}
	return map[string]string{
		"aws_access_key_id": printed.AccessKeyID, "aws_secret_access_key": printed.SecretAccessKey, "aws_session_token": printed.SessionToken,
		"expiration": printed.Expiration, "region": printed.Region,
	}, nil
}

// awsFromINI reads a section of a file of keys; without a name, the first one.
func awsFromINI(text, section string) map[string]string {
	keys := map[string]string{}
	inside := section == ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			if inside && len(keys) > 0 {
				break
			}
			name := strings.TrimSpace(strings.TrimPrefix(strings.Trim(line, "[]"), "profile "))
			inside = section == "" || name == section
			continue
		}
		if name, value, ok := strings.Cut(line, "="); ok && inside && line[0] != '#' && line[0] != ';' {
			keys[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
		}
	}
	return keys
}

func awsCredential(keys map[string]string) (Credential, error) {
	id := keys["aws_access_key_id"]
	if !regexp.MustCompile(`^[A-Z0-9]{16,128}$`).MatchString(id) {
		return Credential{}, errors.New("there is no access key ID, which looks like AKIA…")
	}
	token, err := ParseToken(keys["aws_secret_access_key"])
	if err != nil {
		return Credential{}, fmt.Errorf("the secret access key: %w", err)
	}
	c := Credential{User: id, Token: token, Region: keys["region"]}
	if text := keys["aws_session_token"]; text != "" {
		if c.Session, err = ParseToken(text); err != nil {
			return Credential{}, fmt.Errorf("the session token: %w", err)
		}
	}
	if c.Region != "" && !regexp.MustCompile(awsRegion).MatchString(c.Region) {
		return Credential{}, errors.New("the region is none")
	}
	if end := keys["expiration"]; end != "" {
		if c.ExpiresAt, err = time.Parse(time.RFC3339, end); err != nil {
			return Credential{}, errors.New("the time at which the keys expire cannot be read")
		}
	}
	return c, nil
}

// fromAWS asks AWS's own program, which knows of single sign-on, roles and files; without it, the files are read.
func fromAWS(ctx context.Context, from Source) (Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, awsTime)
	defer cancel()
	var profile []string
	if from.Profile != "" {
		profile = []string{"--profile", from.Profile}
	}
	out, err := ask(ctx, "aws", append([]string{"configure", "export-credentials", "--format", "process"}, profile...)...)
	if errors.Is(err, exec.ErrNotFound) {
		return fromAWSFiles(from)
	}
	if err != nil {
		return Credential{}, fmt.Errorf("aws has no keys (try: aws login, or aws configure): %w", err)
	}
	c, err := parseAWS(out)
	if err != nil {
		return Credential{}, fmt.Errorf("what aws printed cannot be used: %w", err)
	}
	if region, err := ask(ctx, "aws", append([]string{"configure", "get", "region"}, profile...)...); err == nil && c.Region == "" {
		if region = strings.TrimSpace(region); regexp.MustCompile(awsRegion).MatchString(region) {
			c.Region = region
		}
	}
	c.Source = "aws configure export-credentials"
	return c, nil
}

// fromAWSFiles reads the files of AWS's program.
func fromAWSFiles(from Source) (Credential, error) {
	section := from.Profile
	if section == "" {
		section = "default"
	}
	data, err := os.ReadFile(filepath.Join(from.Home, ".aws", "credentials"))
	if err != nil {
		return Credential{}, errors.New("the program aws is not installed, and there is no ~/.aws/credentials")
	}
	keys := awsFromINI(string(data), section)
	if more, err := os.ReadFile(filepath.Join(from.Home, ".aws", "config")); err == nil && keys["region"] == "" {
		keys["region"] = awsFromINI(string(more), section)["region"]
	}
	c, err := awsCredential(keys)
	if err != nil {
		return Credential{}, fmt.Errorf("~/.aws/credentials, section %s: %w", section, err)
	}
	c.Source = "~/.aws/credentials"
	return c, nil
}

// ask runs a program of the person's and returns what it prints.
func ask(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	return out.String(), err
}
