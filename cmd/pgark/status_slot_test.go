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

func TestBesides(t *testing.T) {
	for in, want := range map[string]string{
		"s3://acme-pg/main?region=eu-west-1": "s3://acme-pg/main-20261120?region=eu-west-1",
		"s3://acme-pg":                       "s3://acme-pg/20261120",
		"s3://acme-pg/?region=x":             "s3://acme-pg/20261120?region=x",
		"file:///srv/pg/":                    "file:///srv/pg-20261120",
	} {
		if got := besides(in, day(20, "10:00:00")); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
