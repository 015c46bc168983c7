package main

import "testing"

func TestWithDatabase(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "dbname=postgres",
		"host=db user=ark":                "host=db user=ark dbname=postgres",
		"postgres://ark@db":               "postgres://ark@db/postgres",
		"postgresql://ark@db:5433/x?a=b":  "postgresql://ark@db:5433/postgres?a=b",
		"postgres:///?host=/run&dbname=x": "postgres:///postgres?host=%2Frun",
	} {
		if got := withDatabase(in, "postgres"); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
