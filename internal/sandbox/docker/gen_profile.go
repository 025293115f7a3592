//go:build ignore

// gen_profile writes Docker's default system call filter, which containers of Podman get too. The module is not linked into moat,
// because it sets up tables when a program starts.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/moby/profiles/seccomp"
)

func main() {
	profile, err := json.Marshal(seccomp.DefaultProfile())
	if err == nil {
		err = os.WriteFile("profile.json", append(profile, '\n'), 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}
