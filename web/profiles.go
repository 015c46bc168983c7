package web

import (
	"context"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"
)

// ProfilesPath is where Profiles answers, and below.
const ProfilesPath = "/debug/pprof/"

const (
	// defaultProfile is how long a profile over time takes where the request does not say, as net/http/pprof has it for that of the CPU, and
	// longestProfile how long at most: whoever forgets it must not slow the agent for hours.
	defaultProfile = 30 * time.Second
	longestProfile = 2 * time.Minute
)

// Profiles answers with the profiles of this process for `go tool pprof` (https://pkg.go.dev/net/http/pprof), but for the command line, which may
// hold what nobody is to see. Profiles hold names of functions and counts, and none of the data.
func Profiles() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, ProfilesPath)
		takes, ok := profileTime(name, r)
		if !ok {
			http.Error(w, "seconds: want 1 to "+strconv.Itoa(int(longestProfile.Seconds())), http.StatusBadRequest)
			return
		}
		// The server's own limit for an answer is shorter than a profile takes, and pprof refuses what that limit would cut off.
		if http.NewResponseController(w).SetWriteDeadline(time.Now().Add(takes+answerTimeout)) == nil {
			r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, &http.Server{ReadHeaderTimeout: headerTimeout}))
		}
		switch name {
		case "cmdline":
			http.NotFound(w, r)
		case "profile":
			pprof.Profile(w, r)
		case "trace":
			pprof.Trace(w, r)
		case "symbol":
			pprof.Symbol(w, r)
		default:
			pprof.Index(w, r) // the list, or the profile of that name
		}
	})
}

// profileTime is how long a profile takes to be made: what the request says, or what it takes by default. It reports false for what is longer than
// anybody may ask for, and for what is no number.
func profileTime(name string, r *http.Request) (time.Duration, bool) {
	given := r.URL.Query().Get("seconds")
	switch {
	case given == "" && name == "profile":
		return defaultProfile, true
	case given == "":
		return time.Second, true // of a trace; the others are made at once
	}
	n, err := strconv.ParseFloat(given, 64)
	takes := time.Duration(n * float64(time.Second))
	return takes, err == nil && n > 0 && n <= longestProfile.Seconds()
}
