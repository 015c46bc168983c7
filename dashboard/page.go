package dashboard

import (
	"embed"
	"net/http"
)

//go:embed page
var page embed.FS

// pageFile is one file of the page.
type pageFile struct{ file, kind string }

func pageFiles() map[string]pageFile {
	return map[string]pageFile{
		"/":            {"page/page.html", "text/html; charset=utf-8"},
		"/page.css":    {"page/page.css", "text/css; charset=utf-8"},
		"/page.js":     {"page/page.js", "text/javascript; charset=utf-8"},
		"/window.js":   {"page/window.js", "text/javascript; charset=utf-8"},
		"/charts.js":   {"page/charts.js", "text/javascript; charset=utf-8"},
		"/details.js":  {"page/details.js", "text/javascript; charset=utf-8"},
		"/words.js":    {"page/words.js", "text/javascript; charset=utf-8"},
		"/favicon.svg": {"page/favicon.svg", "image/svg+xml"},
	}
}

func pagePaths() []string {
	var paths []string
	for path := range pageFiles() {
		paths = append(paths, path)
	}
	return paths
}

// servePage answers with a file of the page.
func servePage(w http.ResponseWriter, r *http.Request) {
	f, ok := pageFiles()[r.URL.Path]
	content, err := page.ReadFile(f.file)
	if !ok || err != nil {
		refuse(w, http.StatusNotFound, "not found")
		return
	}
	w.Header().Set("Content-Type", f.kind)
	_, _ = w.Write(content) // who asked may have gone
}
