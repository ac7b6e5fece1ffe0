// Package s3test serves an S3-compatible store on the loopback, in memory and with
// versions, for tests of backups. It looks at the name of the access key and not at
// the signature, which the client makes by the library.
package s3test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// AccessKey and SecretKey are what the server takes.
const (
	AccessKey = "sandgate-test"
	SecretKey = "not a secret, for tests on the loopback"
	Bucket    = "backups"
)

// Server is a running store with a bucket that keeps versions.
type Server struct {
	// Location is the bucket, as sandgate backup names it.
	Location string
	backend  *s3mem.Backend
}

// Start serves until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s, stop, err := Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return s
}

// Serve is Start for who has no testing.TB.
func Serve() (s *Server, stop func(), err error) {
	backend := s3mem.New()
	if err := backend.CreateBucket(Bucket); err != nil {
		return nil, nil, err
	}
	if err := backend.SetVersioningConfiguration(Bucket, gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}); err != nil {
		return nil, nil, err
	}
	inner := gofakes3.New(backend).Server()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+AccessKey+"/") {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidAccessKeyId</Code><Message>unknown</Message></Error>`)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	return &Server{Location: "s3+" + web.URL + "/" + Bucket, backend: backend}, web.Close, nil
}

// Objects are the names below a prefix; with versions, also those that were deleted
// and can be had back.
func (s *Server) Objects(t testing.TB, prefix string, versions bool) []string {
	t.Helper()
	p := gofakes3.NewPrefix(&prefix, nil)
	var out []string
	if !versions {
		list, err := s.backend.ListBucket(Bucket, &p, gofakes3.ListBucketPage{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list.Contents {
			out = append(out, o.Key)
		}
		return out
	}
	list, err := s.backend.ListBucketVersions(Bucket, &p, &gofakes3.ListBucketVersionsPage{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list.Versions {
		if o, ok := v.(*gofakes3.Version); ok {
			out = append(out, o.Key)
		}
	}
	return out
}

// Change replaces an object.
func (s *Server) Change(t testing.TB, name string, change func([]byte) []byte) {
	t.Helper()
	o, err := s.backend.GetObject(Bucket, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(o.Contents)
	if err != nil {
		t.Fatal(err)
	}
	text = change(text)
	if _, err := s.backend.PutObject(Bucket, name, map[string]string{}, strings.NewReader(string(text)), int64(len(text)), nil); err != nil {
		t.Fatal(err)
	}
}
