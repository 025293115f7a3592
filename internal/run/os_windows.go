package run

import (
	"io/fs"
	"os"
)

// Runs are kept on Linux and macOS; a Windows client speaks to those elsewhere.

const openNoFollow = 0

func setLock(*os.File, bool) error { return ErrUnsupported }

func getLock(*os.File) (bool, error) { return false, ErrUnsupported }

func inherited(*os.File) error { return ErrUnsupported }

func trusted(fs.FileInfo) error { return ErrUnsupported }

func removeTree(string) error { return ErrUnsupported }
