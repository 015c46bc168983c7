package storagetest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// request is one that the tests themselves make, without an SDK.
type request struct {
	method string
	path   string // "" means "/"
	query  string // sorted and escaped
	body   []byte
}

func (s *Server) do(ctx context.Context, r request) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	url := s.Endpoint() + "/" + strings.TrimPrefix(r.path, "/")
	if r.query != "" {
		url += "?" + r.query
	}
	req, err := http.NewRequestWithContext(ctx, r.method, url, bytes.NewReader(r.body))
	if err != nil {
		return 0, nil, err
	}
	sign(req, s.access, s.secret)
	transport := &http.Transport{TLSClientConfig: s.certificate.clientConfig(), DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(resp.Body)
	_ = resp.Body.Close() // it was read to its end, or failed
	return resp.StatusCode, body, err
}

// sign signs a request with AWS Signature Version 4, its body unsigned. The headers signed are host and
// those that begin with x-amz-.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func sign(req *http.Request, access, secret string) {
	now := time.Now().UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	req.Header.Del("Authorization")
	req.Header.Set("X-Amz-Date", stamp)
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	names, headers := signedHeaders(req)
	path := req.URL.EscapedPath()
	canonical := strings.Join([]string{
		req.Method, path, req.URL.RawQuery, headers, names, "UNSIGNED-PAYLOAD",
	}, "\n")
	scope := day + "/" + region + "/s3/aws4_request"
	digest := sha256.Sum256([]byte(canonical))
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, scope, hex.EncodeToString(digest[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{day, region, "s3", "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(part)) // a hash never fails
		key = mac.Sum(nil)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+access+"/"+scope+", SignedHeaders="+names+
		", Signature="+hex.EncodeToString(key))
}

func signedHeaders(req *http.Request) (names, lines string) {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	values := map[string]string{"host": host}
	for name, all := range req.Header {
		if name := strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			values[name] = strings.Join(all, ",")
		}
	}
	var sorted []string
	for name := range values {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		lines += name + ":" + strings.TrimSpace(values[name]) + "\n"
	}
	return strings.Join(sorted, ";"), lines
}
