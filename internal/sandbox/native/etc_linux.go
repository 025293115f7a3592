package native

import "moat/internal/sandbox"

// etcFiles returns the files of /etc that are made for the sandbox: path below /etc → content.
func etcFiles(spec sandbox.Spec) map[string][]byte {
	return map[string][]byte{"hostname": []byte(spec.Hostname + "\n")}
}

// etcMasks returns the paths below dir, the host's /etc, that must not be visible.
func etcMasks(dir string) ([]string, error) { return []string{"shadow", "shadow-"}, nil }
