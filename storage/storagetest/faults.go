package storagetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Fault is what happens to a request. A Fault that returns an error cuts the connection.
type Fault func(x *exchange) error

// exchange is one request at the proxy.
type exchange struct {
	proxy   *Proxy
	w       http.ResponseWriter
	r       *http.Request
	op      Op
	path    string
	fault   string          // name of the rule
	created bool            // the server has made the object
	gone    <-chan struct{} // the proxy is closed
	removed <-chan struct{} // the rule was removed
}

// Pass lets the request through.
func Pass() Fault { return func(x *exchange) error { return x.pass(func(*http.Response) {}) } }

// Answer answers in the server's place, which never sees the request: Answer(503, "SlowDown"),
// Answer(403, "ExpiredToken"), Answer(404, "NoSuchKey"), Answer(200, "InternalError"). The body is S3's
// <Error>.
func Answer(status int, code string) Fault {
	return func(x *exchange) error {
		if _, err := io.Copy(io.Discard, x.r.Body); err != nil {
			return err
		}
		x.w.Header().Set("Content-Type", "application/xml")
		x.w.WriteHeader(status)
		if x.r.Method == http.MethodHead {
			return nil
		}
		_, err := fmt.Fprintf(x.w, "<Error><Code>%s</Code><Message>on purpose</Message></Error>", code)
		return err
	}
}

// Cut cuts the connection before the server sees the request.
func Cut() Fault { return func(*exchange) error { return errCut } }

// Lose lets the server do its work and cuts the connection instead of passing its answer on.
func Lose() Fault {
	return func(x *exchange) error {
		resp, err := x.forward(x.r)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body) // the work is done; nobody reads the answer
		_ = resp.Body.Close()
		return errCut
	}
}

// Delay waits before the request goes on.
func Delay(d time.Duration) Fault {
	return func(x *exchange) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		if err := x.wait(timer.C); err != nil {
			return err
		}
		return Pass()(x)
	}
}

// Hang gives no answer until the rule is removed; the request then goes on.
func Hang() Fault {
	return func(x *exchange) error {
		if err := x.wait(nil); err != nil {
			return err
		}
		return Pass()(x)
	}
}

// Rate lets the bodies of request and answer through at so many bytes a second.
func Rate(bytesPerSecond int) Fault {
	return func(x *exchange) error {
		x.r.Body = io.NopCloser(&slowReader{r: x.r.Body, x: x, rate: bytesPerSecond})
		return x.pass(func(resp *http.Response) {
			resp.Body = io.NopCloser(&slowReader{r: resp.Body, x: x, rate: bytesPerSecond})
		})
	}
}

// Truncate cuts the connection after n bytes of the answer's body.
func Truncate(n int64) Fault {
	return func(x *exchange) error {
		err := x.pass(func(resp *http.Response) { resp.Body = io.NopCloser(io.LimitReader(resp.Body, n)) })
		if err != nil {
			return err
		}
		_ = http.NewResponseController(x.w).Flush() // what was written is to arrive before the cut
		return errCut
	}
}

// FlipBit changes one bit of the answer's body, in byte offset.
func FlipBit(offset int64) Fault {
	return func(x *exchange) error {
		return x.pass(func(resp *http.Response) {
			body, _ := io.ReadAll(resp.Body) // a short body is cut by its length
			if offset < int64(len(body)) {
				body[offset] ^= 1
			}
			resp.Body = io.NopCloser(bytes.NewReader(body))
		})
	}
}

// SetHeader changes a header of the answer, or removes it if the value is empty: SetHeader("ETag", "").
func SetHeader(name, value string) Fault {
	return func(x *exchange) error {
		return x.pass(func(resp *http.Response) {
			resp.Header.Del(name)
			if value != "" {
				resp.Header.Set(name, value)
			}
		})
	}
}

// HideKeys leaves the keys that match the pattern out of the answer to a List.
func HideKeys(pattern string) Fault {
	return func(x *exchange) error { return x.hide(func(key string) bool { return matches(pattern, key) }) }
}

// Stale makes the store one that is eventually consistent: for d after an object was put through the proxy, a Get or a Head finds
// nothing and a List leaves it out.
func Stale(d time.Duration) Fault {
	return func(x *exchange) error {
		if x.op == List {
			bucket := strings.SplitAfterN(x.path, "/", 3)[1]
			return x.hide(func(key string) bool { return x.proxy.fresh("/"+bucket+key, d) })
		}
		if x.proxy.fresh(x.path, d) {
			return Answer(http.StatusNotFound, "NoSuchKey")(x)
		}
		x.fault = ""
		return Pass()(x)
	}
}

// fresh reports whether the object at path was made within the last d.
func (p *Proxy) fresh(path string, d time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	born, ok := p.born[path]
	return ok && time.Since(born) < d
}

// hide leaves keys out of the answer to a List.
func (x *exchange) hide(hidden func(key string) bool) error {
	contents := regexp.MustCompile(`(?s)<Contents>.*?</Contents>`)
	name := regexp.MustCompile(`<Key>(.*?)</Key>`)
	n := 0
	err := x.pass(func(resp *http.Response) {
		body, _ := io.ReadAll(resp.Body) // a short list does not parse
		body = contents.ReplaceAllFunc(body, func(entry []byte) []byte {
			if m := name.FindSubmatch(entry); m != nil && hidden(string(m[1])) {
				n++
				return nil
			}
			return entry
		})
		resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
		resp.Body = io.NopCloser(bytes.NewReader(body))
	})
	if n == 0 {
		x.fault = ""
	}
	return err
}

// Overwrite makes creates unconditional, as stores do that do not know If-None-Match. The proxy signs
// the request again with the server's keys.
func Overwrite() Fault {
	return func(x *exchange) error {
		if x.r.Header.Get("If-None-Match") != "" {
			x.r.Header.Del("If-None-Match")
			sign(x.r, x.proxy.server.access, x.proxy.server.secret)
		}
		return Pass()(x)
	}
}

// RefuseCondition answers 501 to a conditional create, as some stores do, and lets the rest through.
func RefuseCondition() Fault {
	return func(x *exchange) error {
		if x.r.Header.Get("If-None-Match") != "" {
			return Answer(http.StatusNotImplemented, "NotImplemented")(x)
		}
		return Pass()(x)
	}
}

// Skew makes the server's clock differ from ours by d: requests whose signature is more than 15 minutes
// off its time are refused as S3 refuses them, and every answer bears its time.
func Skew(d time.Duration) Fault {
	const tolerance = 15 * time.Minute
	return func(x *exchange) error {
		now := time.Now().Add(d).UTC()
		signed, err := time.Parse("20060102T150405Z", x.r.Header.Get("X-Amz-Date"))
		if err != nil {
			return err
		}
		date := now.Format(http.TimeFormat)
		if now.Sub(signed).Abs() > tolerance {
			x.w.Header().Set("Date", date)
			return Answer(http.StatusForbidden, "RequestTimeTooSkewed")(x)
		}
		sign(x.r, x.proxy.server.access, x.proxy.server.secret)
		return SetHeader("Date", date)(x)
	}
}

// SpoilRequest changes one bit of the request's body, in byte offset, after it was signed.
func SpoilRequest(offset int) Fault {
	return func(x *exchange) error {
		body, err := io.ReadAll(x.r.Body)
		if err != nil {
			return err
		}
		if offset < len(body) {
			body[offset] ^= 1
		}
		x.r.Body = io.NopCloser(bytes.NewReader(body))
		sign(x.r, x.proxy.server.access, x.proxy.server.secret)
		return Pass()(x)
	}
}

// pass forwards the request and passes the answer on after change has seen it.
func (x *exchange) pass(change func(*http.Response)) error {
	resp, err := x.forward(x.r)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end, or the connection is cut
	change(resp)
	header := x.w.Header()
	for name, values := range resp.Header {
		header[name] = values
	}
	x.w.WriteHeader(resp.StatusCode)
	_, err = io.Copy(x.w, resp.Body)
	return err
}

// forward sends a request to the server. Its Host header stays what the client signed.
func (x *exchange) forward(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = "http", x.proxy.server.addr
	out.RequestURI = ""
	out.Header.Del("Connection")
	if strings.EqualFold(out.Header.Get("Expect"), "100-continue") {
		out.Header.Del("Expect")
	}
	if out.ContentLength == 0 {
		out.Body = http.NoBody
	}
	resp, err := x.proxy.client.Do(out)
	if err == nil && (x.op == Put || x.op == Commit) && resp.StatusCode == http.StatusOK {
		x.created = true
	}
	return resp, err
}

// slowReader lets bytes through at a rate, in ten steps a second.
type slowReader struct {
	r    io.Reader
	x    *exchange
	rate int
}

// Read implements io.Reader.
func (s *slowReader) Read(p []byte) (int, error) {
	const stepsPerSecond = 10
	timer := time.NewTimer(time.Second / stepsPerSecond)
	defer timer.Stop()
	if err := s.x.wait(timer.C); err != nil {
		return 0, err
	}
	return s.r.Read(p[:min(len(p), max(1, s.rate/stepsPerSecond))])
}
