package grant

// gemini is for API keys, which clients send in a header or in the query. Here they travel in the header only: addresses
// end up in logs.
func gemini() Provider {
	return Provider{
		Name: "gemini", Title: "Gemini API key", Obtain: "https://aistudio.google.com/apikey",
		Hosts:    []string{"generativelanguage.googleapis.com"},
		Rules:    []Rule{{Header: "X-Goog-Api-Key", Format: "{token}", Headers: []string{"Authorization"}, Query: []string{"key", "access_token"}}},
		Env:      []Var{{Name: "GEMINI_API_KEY"}},
		Shape:    Shape{Prefix: "AIza", Length: 35, Alphabet: base64URL},
		Prefixes: []string{"AIza", "AQ."},
	}
}
