package config

// openNonblock is nothing on Windows, whose folders contain no pipes.
const openNonblock = 0
