package config

import "strings"

// maxSuggest is the longest word for which a suggestion is looked for. It bounds
// the work that a hostile file can cause.
const maxSuggest = 40

// closest returns the candidate that a person most likely meant by word, or an
// empty string if none is near: at most one edit for each three characters.
func closest(word string, candidates []string) string {
	word = strings.ToLower(word)
	if len(word) > maxSuggest {
		return ""
	}
	best, bestDistance := "", max(1, (len(word)+1)/3)+1
	for _, c := range candidates {
		if n := distance(word, strings.ToLower(c)); n < bestDistance {
			best, bestDistance = c, n
		}
	}
	return best
}

// distance counts the edits from a to b: insert, delete, replace, or swap two
// neighbours ("optimal string alignment").
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(replace, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// Closest is the candidate that a person most likely meant by a word, or empty.
func Closest(word string, candidates []string) string { return closest(word, candidates) }
