package health

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// answerWithin is how long an answer may take. It needs no time: facts that cannot be had by then are held by a fault of the agent.
const answerWithin = 3 * time.Second

// Source returns what is known of a cluster now. It asks nobody and does not wait; it may be called at any time.
type Source func() Facts

// question is one path: which parameters it takes beside cluster, and what it answers.
type question struct {
	parameter string
	answer    func(f Facts, now time.Time, within time.Duration) Answer
	// all says that without a cluster's name it is asked of all, and is about the worst.
	all bool
}

func questions() map[string]question {
	return map[string]question{
		"/primary": {answer: func(f Facts, now time.Time, _ time.Duration) Answer { return f.Primary(now) }},
		"/standby": {parameter: "max_lag", answer: Facts.Following},
		"/rpo":     {parameter: "max", answer: Facts.RPO},
		"/readyz":  {all: true, answer: func(f Facts, now time.Time, _ time.Duration) Answer { return f.Ready(now) }},
		"/healthz": {all: true, answer: func(f Facts, now time.Time, _ time.Duration) Answer { return f.Alive(now) }},
	}
}

// Handler answers for the clusters of one process, by their names: 200 where all is well, 503 where not, 400 to what cannot be understood, with
// one line of plain text. It never redirects, not even from //primary: some checks take that for a good answer.
func Handler(clusters map[string]Source) http.Handler {
	paths := questions()
	bounded := http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, ok := paths[r.URL.Path]
		switch {
		case !ok:
			say(w, http.StatusNotFound, "not found; there are "+strings.Join(slices.Sorted(maps.Keys(paths)), " "))
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			say(w, http.StatusMethodNotAllowed, "ask with GET or HEAD")
			return
		}
		asked, within, err := q.read(r.URL.RawQuery, clusters)
		if err != nil {
			say(w, http.StatusBadRequest, err.Error())
			return
		}
		answer := q.worst(asked, clusters, within)
		code := http.StatusOK
		if !answer.OK {
			code = http.StatusServiceUnavailable
		}
		say(w, code, answer.Text)
	}), answerWithin, "STUCK the agent does not know its own state\n")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		bounded.ServeHTTP(w, r)
	})
}

func say(w http.ResponseWriter, code int, text string) {
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text) // who asked may have gone
}

// read returns the clusters that are asked after, and the time of the parameter; 0 where it is not given. What it does not know it refuses: a misspelt
// limit must not be another limit.
func (q question) read(query string, clusters map[string]Source) (names []string, within time.Duration, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, 0, errors.New("the query cannot be read")
	}
	names = slices.Sorted(maps.Keys(clusters))
	for name, given := range values {
		switch {
		case len(given) > 1:
			return nil, 0, errors.New("a parameter is given twice")
		case name == "cluster":
			if _, known := clusters[given[0]]; !known {
				return nil, 0, fmt.Errorf("no such cluster; cluster= %s", strings.Join(names, ", "))
			}
			names = given
		case name == q.parameter && name != "":
			if within, err = time.ParseDuration(given[0]); err != nil || within <= 0 {
				return nil, 0, fmt.Errorf("%s: want a time like 30s or 5m", q.parameter)
			}
		case q.parameter == "":
			return nil, 0, errors.New("unknown parameter; known here: cluster")
		default:
			return nil, 0, fmt.Errorf("unknown parameter; known here: %s, cluster", q.parameter)
		}
	}
	if len(names) > 1 && !q.all {
		return nil, 0, fmt.Errorf("say which cluster: cluster= %s", strings.Join(names, ", "))
	}
	return names, within, nil
}

// worst is the answer for one cluster, or for several the first that is not well.
func (q question) worst(names []string, clusters map[string]Source, within time.Duration) Answer {
	now := time.Now()
	var answer Answer
	for _, name := range names {
		answer = q.answer(clusters[name](), now, within)
		if len(names) > 1 {
			answer.Text += " cluster=" + name
		}
		if !answer.OK {
			break
		}
	}
	return answer
}
