package image

import "time"

// Stored is an image that is in the store.
type Stored struct {
	Ref    string
	Digest string
	Bytes  int64     // of its files; layers that it shares with others are counted
	Used   time.Time // last
}

// Cleaning says what may stay.
type Cleaning struct {
	// InUse are the digests of the images of runs that live; it is asked when nobody can start one.
	InUse func() ([]string, error)
	// Before is when an image must have been used last to be removed.
	Before time.Time
	// DryRun removes nothing.
	DryRun bool
}

// Cleaned is what was, or would be, removed.
type Cleaned struct {
	Images    []Stored
	Layers    int   // that no image has any more
	Bytes     int64 // of those layers
	Leftovers int   // of killed pulls
	Busy      bool  // images are being pulled: nothing was looked at
}
