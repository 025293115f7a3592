package config

import (
	"slices"
	"strings"
)

// terminalRights reads terminal.allow.
func (d *decoder) terminalRights(at item) []string {
	var rights []string
	known := TerminalRights()
	for element := range d.elements(at, "write a list of "+strings.Join(known, ", ")) {
		word, ok := d.word(element)
		switch {
		case !ok:
		case !slices.Contains(known, word):
			d.failErr(element, badValue("choose from "+strings.Join(known, ", "), "%s is nothing that can be allowed", shorten(word)))
		case slices.Contains(rights, word):
			d.fail(element.node, "keep one of them", "%s: %s is listed twice", element.path, word)
		default:
			rights = append(rights, word)
		}
	}
	return rights
}

// parseTerminalSize reads terminal.size: true for smallest.
func parseTerminalSize(text string) (smallest bool, err error) {
	switch text {
	case "latest":
		return false, nil
	case "smallest":
		return true, nil
	}
	return false, badValue("write latest or smallest", "%s does not say whose size counts", shorten(text))
}
