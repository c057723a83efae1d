"""Who may do what: roles, API keys, tokens of an identity provider."""
