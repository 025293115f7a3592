package main

// foreign lists calls by other conventions than the architecture's own: a 64-bit process of this one has none.
func foreign() []call { return nil }
