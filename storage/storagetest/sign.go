package storagetest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
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
	if len(r.body) > 0 {
		sum := sha256.Sum256(r.body)
		req.Header.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
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

// identity is who signs a request.
type identity struct {
	access, secret string
	token          string // of temporary credentials; empty for others
}

// sign signs a request to S3 with AWS Signature Version 4, its body unsigned. The headers signed are host and
// those that begin with x-amz-.
func sign(req *http.Request, access, secret string) {
	now := time.Now().UTC()
	stamp, day := now.Format(stampFormat), now.Format("20060102")
	req.Header.Del("Authorization")
	req.Header.Del("X-Amz-Security-Token")
	req.Header.Set("X-Amz-Date", stamp)
	req.Header.Set("X-Amz-Content-Sha256", unsigned)
	c := claim{names: signedNames(req), payload: unsigned, scope: day + "/" + region + "/s3/aws4_request"}
	req.Header.Set("Authorization", algorithm+" Credential="+access+"/"+c.scope+", SignedHeaders="+strings.Join(c.names, ";")+
		", Signature="+c.signature(req, secret))
}

const (
	algorithm   = "AWS4-HMAC-SHA256"
	unsigned    = "UNSIGNED-PAYLOAD"
	stampFormat = "20060102T150405Z"
)

func signedNames(req *http.Request) []string {
	names := []string{"host"}
	for name := range req.Header {
		if name := strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// claim is what a signature says that it covers.
type claim struct {
	access  string
	names   []string // headers, lower case, sorted
	payload string   // hex SHA-256 of the body, or a word in its place
	scope   string   // day/region/service/aws4_request
	given   string   // the signature
}

// signature computes the signature of a request.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func (c claim) signature(req *http.Request, secret string) string {
	var headers strings.Builder
	for _, name := range c.names {
		value := strings.Join(req.Header.Values(name), ",")
		switch name {
		case "host":
			value = cmp.Or(req.Host, req.URL.Host)
		case "content-length":
			value = strconv.FormatInt(req.ContentLength, 10)
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	canonical := strings.Join([]string{
		req.Method, req.URL.EscapedPath(), req.URL.RawQuery, headers.String(), strings.Join(c.names, ";"), c.payload,
	}, "\n")
	digest := sha256.Sum256([]byte(canonical))
	toSign := strings.Join([]string{algorithm, req.Header.Get("X-Amz-Date"), c.scope, hex.EncodeToString(digest[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range append(strings.Split(c.scope, "/"), toSign) {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(part)) // a hash never fails
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

// claimOf reads the Authorization header of a request. body is the payload where the request does not name its hash, as those to STS.
func claimOf(req *http.Request, body []byte) (claim, error) {
	m := authorization.FindStringSubmatch(req.Header.Get("Authorization"))
	if m == nil {
		return claim{}, errUnsigned
	}
	c := claim{access: m[1], scope: m[2], names: strings.Split(m[3], ";"), given: m[4], payload: req.Header.Get("X-Amz-Content-Sha256")}
	if c.payload == "" {
		digest := sha256.Sum256(body)
		c.payload = hex.EncodeToString(digest[:])
	}
	return c, nil
}

// signedBy tells whether the request was signed by who.
func (c claim) signedBy(req *http.Request, who identity) bool {
	return c.access == who.access && req.Header.Get("X-Amz-Security-Token") == who.token &&
		(who.token == "" || slices.Contains(c.names, "x-amz-security-token")) && c.signature(req, who.secret) == c.given
}

var (
	authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$`)
	errUnsigned   = errors.New("the request is not signed")
)
