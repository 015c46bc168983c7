package agent_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestCheckPowers guards T2: check warns of a credential that may delete or overwrite, with the policy that takes it away, and not under that policy; then nothing is
// asked for but one deletion of each kind and one put over an object, of its own.
func TestCheckPowers(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "acme")
	identity, _ := least(t, "s3://acme/main?region=us-east-1", agent.Writer)
	everything := []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow","Action":["s3:*"],"Resource":["*"]}]}`)
	for name, test := range map[string]struct {
		policy []byte
		want   string
	}{
		"a writer":            {identity, ""},
		"all rights":          {everything, "this credential may delete and overwrite objects, and delete their versions for good: ransomware could too"},
		"all rights and more": {nil, "this credential may delete and overwrite objects, and delete their versions for good: ransomware could too"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := storagetest.StartProxy(t, server)
			if test.policy != nil {
				proxy.Add(storagetest.Rule{Name: "policy", Fault: storagetest.Enforce(t, test.policy)})
			}
			loaded, err := config.Load(config.Sources{Repo: proxy.URL("acme", "main")})
			if err != nil {
				t.Fatal(err)
			}
			var warned, kept bool
			err = agent.Check(t.Context(), loaded.Clusters[0], agent.CheckOptions{Only: []string{"storage"}}, func(f agent.Finding) {
				kept = kept || f.Verdict == agent.Good && strings.Contains(f.Text, "may not delete")
				if f.Verdict == agent.Bad {
					t.Errorf("found %s: %v", f.Text, f.Err)
				}
				if f.Verdict == agent.Warning && strings.HasPrefix(f.Text, "this credential may ") {
					warned = true
					if f.Text != test.want || !strings.HasPrefix(f.Fix, "pgark repo policy s3://acme/main ") {
						t.Errorf("found %q, %q, want %q", f.Text, f.Fix, test.want)
					}
				}
			})
			if err != nil || warned != (test.want != "") || kept == warned {
				t.Errorf("warned: %t, said that it may not delete: %t, %v", warned, kept, err)
			}
			if test.want != "" {
				return
			}
			refused := map[string]int{}
			for _, c := range proxy.Calls() {
				if c.Fault == "policy" {
					refused[c.Action]++
				}
			}
			// The last tells a right that is missing from a lock.
			want := map[string]int{"s3:DeleteObject": 2, "s3:PutObject": 1, "s3:DeleteObjectVersion": 1, "s3:GetObjectRetention": 1}
			if !maps.Equal(refused, want) {
				t.Errorf("refused: %v, want %v", refused, want)
			}
		})
	}
}
