package grant

// npm is for the registry. npm itself sends a token only if an .npmrc has one, and publishes only then:
// //registry.npmjs.org/:_authToken=${NPM_TOKEN}
func npm() Provider {
	return Provider{
		Name: "npm", Title: "npm token", Obtain: "https://www.npmjs.com/settings/~/tokens",
		Hosts:    []string{"registry.npmjs.org"},
		Rules:    []Rule{{Header: "Authorization", Format: "Bearer {token}"}},
		Env:      []Var{{Name: "NPM_TOKEN"}, {Name: "NODE_AUTH_TOKEN"}},
		Shape:    Shape{Prefix: "npm_", Length: 36, Alphabet: alphanumeric},
		Prefixes: []string{"npm_"},
	}
}
