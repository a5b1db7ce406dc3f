"""What `make unit`, `make test`, `make e2e` and `make e2e-all` run: the suites of tests/suites.toml."""
