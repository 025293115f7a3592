package box

// An Image is what an image says that somebody else keeps.
type Image struct {
	ID         string // sha256:…, which means this image for ever
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkDir    string
	User       string
}

// Wanted is an image that is asked for.
type Wanted struct {
	Ref    string
	Anew   bool                    // what is there under that name does not count
	Report func(done, total int64) // hears of bytes that have come, and of how many are known to come; nil: nobody listens
}
