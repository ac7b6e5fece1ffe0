package backup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/backup"
	"github.com/sandgate/sandgate/gateway/backup/s3test"
)

// R35 R36: a backup in an S3-compatible store grows by what is new, is restored like
// one in a directory, and loses the keys of what is destroyed in every version.
func TestR35R36_BackupInObjectStore(t *testing.T) {
	server := s3test.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
	at := server.Location + "/city/one"
	a := arena(t)
	a.Add(t, people("kept", ""))
	a.Add(t, people("leaving", ""))
	to, ids := key(t)
	if _, err := backup.Verify(t.Context(), at, "", ids); err == nil || !strings.Contains(err.Error(), "no backup") {
		t.Errorf("an empty store: %v", err)
	}
	one := create(t, a, at, to)
	a.MustRun(t, attack.Op(0), "kept", first, 0)
	before := server.Objects(t, "", false)
	two := create(t, a, at, to)
	if two.Written >= one.Written || len(server.Objects(t, "", false)) <= len(before) {
		t.Errorf("the second backup wrote %d bytes after %d", two.Written, one.Written)
	}
	for _, name := range server.Objects(t, "", true) {
		if !strings.HasPrefix(name, "city/one/") {
			t.Errorf("%s lies outside the prefix", name)
		}
	}
	names, err := backup.List(at)
	if err != nil || len(names) != 2 || names[0] != one.Name {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		if rep, err := backup.Verify(t.Context(), at, name, ids); err != nil || rep.Entries == 0 || len(rep.Destroyed) != 0 {
			t.Errorf("%s: %+v, %v", name, rep, err)
		}
	}
	if _, err := a.Client(attack.Department).Keys.DestroySnapshot(t.Context(), &sandgatev1.DestroySnapshotRequest{Dataset: "leaving"}); err != nil {
		t.Fatal(err)
	}
	if got := server.Objects(t, "city/one/keys/", true); len(got) != 2 {
		t.Fatalf("keys before: %v", got)
	}
	create(t, a, at, to)
	if got := server.Objects(t, "city/one/keys/", true); len(got) != 1 {
		t.Errorf("keys after, with those that can be had back: %v", got)
	}
	if rep, err := backup.Verify(t.Context(), at, one.Name, ids); err != nil || len(rep.Destroyed) != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	dest := filepath.Join(t.TempDir(), "home")
	rep, mark, err := backup.Restore(t.Context(), at, "", dest, copyLedger(t, a), ids)
	if err != nil || len(rep.Lost) != 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	o, err := open(t, dest, confirm(t, a, mark, true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.run(t, a, id(6), "leaving", "SELECT COUNT(*) AS n FROM leaving"); code(err) != "NO_SNAPSHOT" {
		t.Errorf("the destroyed one: %v", err)
	}
	if _, err := o.run(t, a, id(7), "kept", first); err != nil {
		t.Errorf("the other one: %v", err)
	}
	if r := o.shut(t); !r.OK {
		t.Errorf("audit: %+v", r.Findings)
	}
	// What the store changes does not open.
	for _, name := range server.Objects(t, "city/one/objects/", false) {
		server.Change(t, name, func(text []byte) []byte { return append(bytes.Clone(text[:len(text)-1]), text[len(text)-1]^1) })
	}
	if _, err := backup.Verify(t.Context(), at, "", ids); err == nil {
		t.Error("changed objects pass")
	}
}

// R35: a rotation is in the next backup, and a backup of before it does not go with a
// later ledger.
func TestR35_BackupAcrossRotation(t *testing.T) {
	a := arena(t)
	a.Add(t, people("kept", ""))
	to, ids := key(t)
	dir := filepath.Join(t.TempDir(), "backups")
	one := create(t, a, dir, to)
	for _, k := range []string{"log", "receipt", "token", "commit"} {
		if _, _, err := a.Domain.Rotate(t.Context(), attack.Regulator, k); err != nil {
			t.Fatal(err)
		}
	}
	tail := copyLedger(t, a)
	if _, _, err := backup.Restore(t.Context(), dir, one.Name, filepath.Join(t.TempDir(), "old"), tail, ids); err == nil || !strings.Contains(err.Error(), "keyring") {
		t.Errorf("an old keyring with the later ledger: %v", err)
	}
	create(t, a, dir, to)
	dest := filepath.Join(t.TempDir(), "home")
	_, mark, err := backup.Restore(t.Context(), dir, "", dest, tail, ids)
	if err != nil {
		t.Fatal(err)
	}
	o, err := open(t, dest, confirm(t, a, mark, true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.run(t, a, id(8), "kept", first); err != nil {
		t.Error(err)
	}
	if r := o.shut(t); !r.OK || len(r.Keys) != 2 {
		t.Errorf("audit: %+v", r.Findings)
	}
}

// R35: credentials come from the environment or a private file and nowhere else; what
// is wrong is said without them.
func TestR35_ObjectStoreRefusals(t *testing.T) {
	server := s3test.Start(t)
	host := strings.TrimPrefix(server.Location, "s3+http://")
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = "+s3test.AccessKey+"\naws_secret_access_key = "+s3test.SecretKey+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	a := arena(t)
	to, _ := key(t)
	const secret = "whoever-sees-this"
	for _, c := range []struct{ name, location, id, file, says string }{
		{"no credentials", server.Location, "", "", "AWS_ACCESS_KEY_ID"},
		{"a file that others read", server.Location, "", file, "chmod 600"},
		{"a file that is not there", server.Location, "", file + "x", "failed to find"},
		{"another key", server.Location, "stranger", "", "AccessDenied"},
		{"no such bucket", "s3+http://" + strings.Split(host, "/")[0] + "/other", s3test.AccessKey, "", "make it first"},
		{"no bucket", "s3+http://" + strings.Split(host, "/")[0], s3test.AccessKey, "", "not complete"},
		{"credentials in the location", "s3+http://" + s3test.AccessKey + ":" + secret + "@" + host, s3test.AccessKey, "", "holds no credentials"},
		{"no TLS", "s3+http://store.example/bucket", s3test.AccessKey, "", "s3+https://"},
		{"another scheme", "s3+ftp://user:" + secret + "@store.example/bucket", s3test.AccessKey, "", "credentials"},
		{"an unknown kind", "gs://user:" + secret + "@bucket", s3test.AccessKey, "", "neither"},
		{"nobody there", "s3+http://127.0.0.1:1/bucket", s3test.AccessKey, "", "failed to find the bucket"},
	} {
		t.Setenv("AWS_ACCESS_KEY_ID", c.id)
		t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", c.file)
		_, err := backup.Create(t.Context(), a.Home, c.location, to, time.Now())
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the refusal tells the secret", c.name)
		}
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	if _, err := backup.Create(t.Context(), a.Home, server.Location, to, time.Now()); err != nil {
		t.Errorf("control: a private file: %v", err)
	}
}
