package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3Tries is how often a call is made: what was written before a failure is found
// there by the next backup.
const s3Tries = 3

// objectStore is a bucket of an S3-compatible store, or what lies in it below a
// prefix. What it gets is encrypted already: it learns sizes and times.
type objectStore struct {
	core           minio.Core
	bucket, prefix string // prefix ends with a slash, or is empty
	at             string
}

// safeLocation leaves out what an address may hold of a secret.
func safeLocation(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return "the location"
	}
	return u.Redacted()
}

// openS3 reads s3+https://HOST[:PORT]/BUCKET[/PREFIX]. Credentials come from
// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN), or from the file
// that AWS_SHARED_CREDENTIALS_FILE names; never from the location, which others on
// the machine can read. The region is AWS_REGION.
func openS3(location string) (store, error) {
	u, err := url.Parse(strings.TrimPrefix(location, "s3+"))
	if err != nil {
		return nil, errors.New("the location is no address: use s3+https://HOST[:PORT]/BUCKET[/PREFIX]")
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	switch {
	case u.User != nil:
		return nil, errors.New("an S3 location holds no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE")
	case u.Host == "" || bucket == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the location is not complete: use s3+https://HOST[:PORT]/BUCKET[/PREFIX]")
	case u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())):
		return nil, fmt.Errorf("%s: use s3+https://, or s3+http:// on the loopback only", safeLocation(location))
	}
	by, err := s3Credentials()
	if err != nil {
		return nil, err
	}
	region := os.Getenv("AWS_REGION")
	if region == "" {
		region = "us-east-1"
	}
	client, err := minio.New(u.Host, &minio.Options{Creds: by, Secure: u.Scheme == "https", Region: region, MaxRetries: s3Tries})
	if err != nil {
		return nil, fmt.Errorf("failed to make the client of the object store: %w", err)
	}
	if prefix != "" {
		prefix += "/"
	}
	return &objectStore{core: minio.Core{Client: client}, bucket: bucket, prefix: prefix, at: safeLocation(location)}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func s3Credentials() (*credentials.Credentials, error) {
	if os.Getenv("AWS_ACCESS_KEY_ID") != "" {
		return credentials.NewEnvAWS(), nil
	}
	file := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	if file == "" {
		return nil, errors.New("no credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE")
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("failed to find the credentials of the object store: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others; run: chmod 600 %s", file, file)
	}
	return credentials.NewFileAWSCredentials(filepath.Clean(file), ""), nil
}

func (s *objectStore) String() string { return s.at }

// failed names the place and the store's own code; its texts may quote a request.
func (s *objectStore) failed(what string, err error) error {
	var r minio.ErrorResponse
	if errors.As(err, &r) && r.Code != "" {
		if r.Code == minio.NoSuchKey {
			return fmt.Errorf("failed to %s in %s: %w", what, s.at, fs.ErrNotExist)
		}
		return fmt.Errorf("failed to %s in %s: the store answers %s", what, s.at, r.Code)
	}
	return fmt.Errorf("failed to %s in %s: %w", what, s.at, err)
}

func (s *objectStore) prepare(ctx context.Context) error {
	ok, err := s.core.BucketExists(ctx, s.bucket)
	if err != nil {
		return s.failed("find the bucket", err)
	}
	if !ok {
		return fmt.Errorf("failed to find the bucket of %s: make it first, with access for the gateway alone", s.at)
	}
	return nil
}

func (s *objectStore) list(ctx context.Context, prefix string) ([]string, error) {
	var out []string
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, s.failed("list backups", o.Err)
		}
		if name := strings.TrimPrefix(o.Key, s.prefix); strings.HasSuffix(name, suffix) {
			out = append(out, name)
		}
	}
	return out, ctx.Err()
}

func (s *objectStore) get(ctx context.Context, name string) (io.ReadCloser, error) {
	r, _, _, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, s.failed("open an object of the backup", err)
	}
	return r, nil
}

func (s *objectStore) put(ctx context.Context, name string, text []byte) error {
	_, err := s.core.Client.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(text), int64(len(text)),
		minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true, SendContentMd5: true})
	if err != nil {
		return s.failed("write backup", err)
	}
	return nil
}

// remove takes every version away: in a bucket that keeps versions, what is merely
// deleted can be had back, and so could the key of what was destroyed.
func (s *objectStore) remove(ctx context.Context, dir string) error {
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + dir + "/", Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			return s.failed("list what is to be removed", o.Err)
		}
		if err := s.core.Client.RemoveObject(ctx, s.bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); err != nil {
			return s.failed("remove from the backups", err)
		}
	}
	return ctx.Err()
}
