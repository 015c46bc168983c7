// Package dashboard is the page on which people see how their clusters stand, and the answers in JSON that it is made of. It only reads: nothing here can change
// a cluster or a repository.
//
// It shows the status report of each cluster, the same document as `pgark status -o json`, and what an agent at work knows besides. docs/HTTP.md describes it to
// its users.
package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgark/pgark/status"
)

const (
	// liveEvery is how often who listens is told what the agent knows by itself, and sampleEvery how often the history takes that.
	liveEvery   = 2 * time.Second
	sampleEvery = 5 * time.Second
)

// Cluster is one cluster that is shown.
type Cluster struct {
	Name string
	// Survey looks at it. Its error is explained by Options.Explain.
	Survey Survey
	// Live returns what its agent knows now; nil where no agent of this process is at work on it.
	Live func() status.Live
	// Restore is the beginning of the command that restores it, to be pasted: `pgark restore --cluster main`. The target and --into follow.
	Restore string
	// History is what was seen before; nil begins a new one.
	History *History
}

// Options of New. Version may be empty.
type Options struct {
	Clusters []Cluster
	Version  string
	// Redact takes secrets out of text that goes out; nil leaves it as it is.
	Redact func(string) string
	// Explain is what is told of a survey's error, to be written as JSON in {"error": …}; nil tells its words.
	Explain func(error) any
	// Guard says who may ask.
	Guard Guard
}

// Site shows clusters. Handler may answer before Run, and does not know much then.
type Site struct {
	options Options
	began   time.Time
	shown   atomic.Pointer[[]*shown]
	changed chan struct{} // of one: others are shown
	hub     *hub
}

// shown is one cluster with what is kept of it. It is never changed.
type shown struct {
	Cluster

	look *Look
}

// New returns a site.
func New(o Options) *Site {
	if o.Redact == nil {
		o.Redact = func(s string) string { return s }
	}
	if o.Explain == nil {
		o.Explain = func(err error) any { return map[string]string{"message": err.Error()} }
	}
	now := time.Now()
	s := &Site{options: o, began: now.UTC(), changed: make(chan struct{}, 1), hub: newHub(o.Redact, now)}
	s.shown.Store(&[]*shown{})
	s.show(o.Clusters)
	return s
}

// Show has these clusters shown instead of those before, and tells who listens. One that is shown under its name already keeps what is known of it, its Survey
// and its Live, which go by what is in force: only its Restore is taken. It is safe for concurrent use with all but another Show.
func (s *Site) Show(clusters []Cluster) {
	first := len(*s.shown.Load()) == 0
	s.show(clusters)
	if !first { // until then nobody could see anything
		s.hub.tell("site", s.site())
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Site) show(clusters []Cluster) {
	all := []*shown{}
	for _, c := range clusters {
		if before := s.find(c.Name); before != nil {
			kept := *before
			kept.Restore = c.Restore
			all = append(all, &kept)
			continue
		}
		one := &shown{Cluster: c}
		if one.History == nil {
			one.History = &History{}
		}
		before := status.Verdict("")
		one.look = NewLook(c.Survey, func(f Found) {
			s.tellFound(c.Name, f, &before)
		})
		all = append(all, one)
	}
	s.shown.Store(&all)
}

// standing is what is told of a look.
type standing struct {
	Cluster string         `json:"cluster"`
	Time    time.Time      `json:"time"`
	Verdict status.Verdict `json:"verdict,omitempty"`
	Before  status.Verdict `json:"before,omitempty"`
	RPO     *float64       `json:"rpo_seconds,omitempty"`
	Error   any            `json:"error,omitempty"`
}

// tellFound tells of a look: that there is a new report, which passes, or that the verdict has changed.
func (s *Site) tellFound(cluster string, f Found, before *status.Verdict) {
	told := standing{Cluster: cluster, Time: f.At.UTC(), Before: *before}
	if f.Err != nil {
		told.Error = s.options.Explain(f.Err)
		s.hub.pass("status", told)
		return
	}
	told.Verdict, told.RPO = f.Report.Verdict, f.Report.RPO
	if *before == "" || *before == told.Verdict {
		s.hub.pass("status", told)
	} else {
		s.hub.tell("status", told)
	}
	*before = told.Verdict
}

// Tell tells who listens of an event, and has the cluster looked at anew if that may have changed how it stands. It does not wait.
func (s *Site) Tell(e status.Event) {
	if e.Passing {
		s.hub.pass(string(e.Kind), e)
		return
	}
	s.hub.tell(string(e.Kind), e)
	if e.Job != nil && e.Job.Ended == nil {
		return
	}
	if one := s.find(e.Cluster); one != nil {
		one.look.Ask()
	}
}

// Last is the report of a cluster by the last look; nil where that failed, or there was none.
func (s *Site) Last(cluster string) *status.Report {
	if one := s.find(cluster); one != nil {
		return one.look.Last()
	}
	return nil
}

func (s *Site) find(cluster string) *shown {
	all := *s.shown.Load()
	i := slices.IndexFunc(all, func(c *shown) bool { return c.Name == cluster })
	if i < 0 {
		return nil
	}
	return all[i]
}

// Run looks at the clusters and tells who listens, until ctx ends. Then it lets all listeners go.
func (s *Site) Run(ctx context.Context) {
	defer s.hub.end()
	var group sync.WaitGroup
	attended := map[*Look]context.CancelFunc{}
	for {
		s.attend(ctx, &group, attended)
		select {
		case <-s.changed:
		case <-ctx.Done():
			s.hub.end() // they hold the listener open
			group.Wait()
			return
		}
	}
}

// attend begins to look at the clusters that are new, and ends that at those that are shown no more.
func (s *Site) attend(ctx context.Context, group *sync.WaitGroup, attended map[*Look]context.CancelFunc) {
	all := *s.shown.Load()
	for look, leave := range attended {
		if !slices.ContainsFunc(all, func(c *shown) bool { return c.look == look }) {
			leave()
			delete(attended, look)
		}
	}
	for _, one := range all {
		if attended[one.look] != nil {
			continue
		}
		own, leave := context.WithCancel(ctx)
		attended[one.look] = leave
		group.Go(func() { one.look.Run(own) })
		if one.Live != nil {
			group.Go(func() { s.watch(own, one) })
		}
	}
}

// watch tells what the agent of a cluster knows.
func (s *Site) watch(ctx context.Context, one *shown) {
	told, sampled := time.NewTicker(liveEvery), time.NewTicker(sampleEvery)
	defer told.Stop()
	defer sampled.Stop()
	one.History.Add(time.Now(), one.Live().RPO)
	for {
		select {
		case <-ctx.Done():
			return
		case <-sampled.C:
			one.History.Add(time.Now(), one.Live().RPO)
		case <-told.C:
			if s.hub.busy() {
				s.hub.pass("live", one.Live())
				one.look.Ask()
			}
		}
	}
}

// answers are the paths that are answered in JSON.
func (s *Site) answers() map[string]func(http.ResponseWriter, *http.Request) {
	return map[string]func(http.ResponseWriter, *http.Request){
		"/api/v1/site":    s.answerSite,
		"/api/v1/status":  s.answerStatus,
		"/api/v1/live":    s.answerLive,
		"/api/v1/drill":   s.answerDrill,
		"/api/v1/history": s.answerHistory,
		"/api/v1/events":  s.hub.serve,
	}
}

// Paths are those that Handler answers.
func (s *Site) Paths() []string {
	paths := pagePaths()
	for path := range s.answers() {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// Handler answers Paths.
func (s *Site) Handler() http.Handler {
	answers := s.answers()
	return s.options.Guard.Before(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer, ok := answers[r.URL.Path]; ok {
			answer(w, r)
			return
		}
		servePage(w, r)
	}))
}

// reply writes a document as JSON.
func (s *Site) reply(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_, _ = fmt.Fprint(w, written(document, s.options.Redact)) // who asked may have gone
}

// refuse answers in plain text.
func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text)
}

// asked returns the clusters that are asked after: the one that is named, or all. It refuses what it does not know.
func (s *Site) asked(w http.ResponseWriter, r *http.Request) (chosen []*shown, named, ok bool) {
	for name, values := range r.URL.Query() {
		one := s.find(values[0])
		if name != "cluster" || len(values) != 1 || one == nil {
			refuse(w, http.StatusBadRequest, "unknown parameter or cluster; known here: cluster=NAME")
			return nil, false, false
		}
		chosen, named = []*shown{one}, true
	}
	if !named {
		chosen = *s.shown.Load()
	}
	return chosen, named || len(chosen) == 1, true
}

// answerSite tells what is shown here.
func (s *Site) answerSite(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, http.StatusOK, s.site())
}

// site is what is shown here.
func (s *Site) site() map[string]any {
	type cluster struct {
		Name    string `json:"name"`
		Restore string `json:"restore,omitempty"`
		Live    bool   `json:"live"`
	}
	clusters := []cluster{}
	for _, one := range *s.shown.Load() {
		clusters = append(clusters, cluster{one.Name, one.Restore, one.Live != nil})
	}
	return map[string]any{"version": s.options.Version, "began": s.began, "clusters": clusters}
}

// failed stands in the place of a report that could not be made, as in what `pgark status` prints.
type failed struct {
	Cluster string `json:"cluster,omitempty"`
	Error   any    `json:"error"`
}

// answerStatus answers with the report of one cluster, or an array of those of all.
func (s *Site) answerStatus(w http.ResponseWriter, r *http.Request) {
	chosen, one, ok := s.asked(w, r)
	if !ok {
		return
	}
	found, ctx := make([]Found, len(chosen)), r.Context()
	var group sync.WaitGroup
	for i, c := range chosen {
		group.Go(func() { found[i] = c.look.Get(ctx) })
	}
	group.Wait()
	documents := []any{}
	oldest := time.Now()
	for i, f := range found {
		if f.At.Before(oldest) {
			oldest = f.At
		}
		if f.Err != nil {
			documents = append(documents, failed{chosen[i].Name, s.options.Explain(f.Err)})
			continue
		}
		documents = append(documents, f.Report)
	}
	w.Header().Set("Age", strconv.Itoa(int(time.Since(oldest).Seconds())))
	switch {
	case one && found[0].Err != nil:
		s.reply(w, http.StatusServiceUnavailable, failed{Error: s.options.Explain(found[0].Err)})
	case one:
		s.reply(w, http.StatusOK, documents[0])
	default:
		s.reply(w, http.StatusOK, documents)
	}
}

// answerLive answers with what the agents know.
func (s *Site) answerLive(w http.ResponseWriter, r *http.Request) {
	s.each(w, r, func(c *shown) any { return c.Live() })
}

// answerHistory answers with the RPO of the last day.
func (s *Site) answerHistory(w http.ResponseWriter, r *http.Request) {
	s.each(w, r, func(c *shown) any { return c.History.Past() })
}

// each answers for the clusters that are asked after and have an agent here.
func (s *Site) each(w http.ResponseWriter, r *http.Request, of func(*shown) any) {
	chosen, one, ok := s.asked(w, r)
	if !ok {
		return
	}
	documents := []any{}
	for _, c := range chosen {
		if c.Live != nil {
			documents = append(documents, of(c))
		}
	}
	switch {
	case one && len(documents) == 0:
		refuse(w, http.StatusNotFound, "no agent of this process is at work on it")
	case one:
		s.reply(w, http.StatusOK, documents[0])
	default:
		s.reply(w, http.StatusOK, documents)
	}
}
