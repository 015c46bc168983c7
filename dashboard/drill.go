package dashboard

import (
	"net/http"
	"slices"
)

// answerDrill answers with the whole report of a drill, one of those that the last look read: no store is asked for it.
func (s *Site) answerDrill(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	id := query.Get("id")
	query.Del("id")
	all := *s.shown.Load()
	if name := query.Get("cluster"); name != "" {
		query.Del("cluster")
		all = slices.DeleteFunc(slices.Clone(all), func(c *shown) bool { return c.Name != name })
	}
	if id == "" || len(query) > 0 || len(all) != 1 {
		refuse(w, http.StatusBadRequest, "unknown parameter or cluster; known here: id=DRILL, and cluster=NAME where there are several")
		return
	}
	report := all[0].look.Last()
	if report == nil {
		refuse(w, http.StatusServiceUnavailable, "nothing is known of this cluster now")
		return
	}
	for _, d := range report.DrillReports {
		if d.ID == id {
			s.reply(w, http.StatusOK, d)
			return
		}
	}
	refuse(w, http.StatusNotFound, "not one of the newest drills: pgark drill show has it")
}
