package main

import (
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sandgate/sandgate/gateway/backup/s3test"
)

// cmdObjectStore serves an S3-compatible store until the script ends, named STORE, with
// its access key in the environment.
func cmdObjectStore(ts *testscript.TestScript, neg bool, got []string) {
	noNeg(ts, neg)
	args(ts, got, "objectstore", 0, 0)
	s, stop, err := s3test.Serve()
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("STORE", s.Location)
	ts.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	ts.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
}
