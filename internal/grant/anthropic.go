package grant

// anthropic is for API keys, which are billed by use. Other headers, anthropic-version and anthropic-beta, are the
// client's.
func anthropic() Provider {
	return Provider{
		Name: "anthropic", Title: "Anthropic API key", Obtain: "https://console.anthropic.com/settings/keys",
		Hosts:    []string{"api.anthropic.com"},
		Rules:    []Rule{{Header: "X-Api-Key", Format: "{token}", Headers: []string{"Authorization"}}},
		Env:      []Var{{Name: "ANTHROPIC_API_KEY"}},
		Shape:    Shape{Prefix: "sk-ant-api03-", Length: 93, Alphabet: base64URL, Suffix: "AA"},
		Prefixes: []string{"sk-ant-api"},
		Mistaken: map[string]string{"sk-ant-oat": "claude"},
	}
}
