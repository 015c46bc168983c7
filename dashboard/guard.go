package dashboard

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Guard says who may ask. The zero value lets everybody.
type Guard struct {
	// Loopback says that only this host is answered, without TLS: then a request must name this host, or a page of somebody else's could have a browser
	// here read the answers under its own name (DNS rebinding).
	Loopback bool
	// Closed, if not empty, is why nobody is answered.
	Closed string
}

// contentPolicy lets the page load what lies beside it, and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Before answers what may not be asked, and sets what every answer has.
func (g Guard) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": contentPolicy,
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY",
		} {
			w.Header().Set(name, value)
		}
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, "ask with GET or HEAD")
		case g.Closed != "":
			refuse(w, http.StatusForbidden, g.Closed)
		case g.Loopback && !namesThisHost(r.Host):
			refuse(w, http.StatusMisdirectedRequest, "only requests for localhost are answered here")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// namesThisHost reports whether a Host header names this host in a way that no other host can be made to bear.
func namesThisHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
