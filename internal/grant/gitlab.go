package grant

// gitlab is for gitlab.com: its API takes Bearer, and git over HTTPS takes Basic with any user
// (https://docs.gitlab.com/api/rest/authentication/, https://docs.gitlab.com/user/profile/personal_access_tokens/).
func gitlab() Provider {
	others := []string{"Private-Token", "Job-Token", "Deploy-Token"}
	query := []string{"private_token", "access_token", "job_token"}
	return Provider{
		Name: "gitlab", Title: "GitLab token", Obtain: "https://gitlab.com/-/user_settings/personal_access_tokens",
		Hosts: []string{"gitlab.com"},
		Rules: []Rule{
			{Path: "/api/", Header: "Authorization", Format: "Bearer {token}", Headers: others, Query: query},
			{Header: "Authorization", Format: "Basic {basic}", User: "oauth2", Headers: others, Query: query},
		},
		Env:      []Var{{Name: "GITLAB_TOKEN"}},
		Shape:    Shape{Prefix: "glpat-", Length: 20, Alphabet: base64URL},
		Prefixes: []string{"glpat-", "gloas-", "gldt-"},
	}
}
