package grant

// openai is for API keys.
func openai() Provider {
	return Provider{
		Name: "openai", Title: "OpenAI API key", Obtain: "https://platform.openai.com/api-keys",
		Hosts:    []string{"api.openai.com"},
		Rules:    []Rule{{Header: "Authorization", Format: "Bearer {token}"}},
		Env:      []Var{{Name: "OPENAI_API_KEY"}},
		Shape:    Shape{Prefix: "sk-proj-", Length: 156, Alphabet: base64URL},
		Prefixes: []string{"sk-"},
		Mistaken: map[string]string{"sk-ant-api": "anthropic", "sk-ant-oat": "claude"},
	}
}
