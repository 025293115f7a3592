package grant

// pypi is for uploads with twine or uv (https://pypi.org/help/#apitoken). Every real token begins with the same macaroon
// header, which names the site.
func pypi() Provider {
	return Provider{
		Name: "pypi", Title: "PyPI token", Obtain: "https://pypi.org/manage/account/token/",
		Hosts:    []string{"upload.pypi.org"},
		Reach:    []string{"pypi.org", "files.pythonhosted.org"},
		Rules:    []Rule{{Header: "Authorization", Format: "Basic {basic}", User: "__token__"}},
		Env:      []Var{{Name: "TWINE_USERNAME", Value: "__token__"}, {Name: "TWINE_PASSWORD"}, {Name: "UV_PUBLISH_TOKEN"}},
		Shape:    Shape{Prefix: "pypi-AgEIcHlwaS5vcmc", Length: 156, Alphabet: base64URL},
		Prefixes: []string{"pypi-"},
	}
}
