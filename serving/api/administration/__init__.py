"""What reviewers, promoters and operators do over HTTP; `serving.api.people.roles` says who may do what."""
