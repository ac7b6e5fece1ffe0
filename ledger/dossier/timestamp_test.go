package dossier

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
)

// issuer is a certification authority and a key of its for use.
type issuer struct {
	root, cert *x509.Certificate
	key        *ecdsa.PrivateKey
}

func issue(t *testing.T, use ...x509.ExtKeyUsage) issuer {
	t.Helper()
	make := func(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if by == nil {
			parent, by = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	root, rootKey := make(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "authority"}, NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageDigitalSignature}
	if len(use) == 1 && use[0] == x509.ExtKeyUsageTimeStamping { // critical, as RFC 3161 §2.3 wants
		leaf.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 37}, Critical: true, Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08}}}
	} else {
		leaf.ExtKeyUsage = use
	}
	cert, key := make(leaf, root, rootKey)
	return issuer{root, cert, key}
}

func (i issuer) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(i.root)
	return p
}

func (i issuer) reply(t *testing.T, query []byte, change func(*timestamp.Timestamp)) []byte {
	t.Helper()
	q, err := timestamp.ParseRequest(query)
	if err != nil {
		t.Fatal(err)
	}
	ts := &timestamp.Timestamp{HashAlgorithm: q.HashAlgorithm, HashedMessage: q.HashedMessage, Time: time.Now(), Nonce: q.Nonce, Policy: []int{1, 2, 3}, AddTSACertificate: true}
	if change != nil {
		change(ts)
	}
	out, err := ts.CreateResponseWithOpts(i.cert, i.key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestR30_TimestampsAreOfTheCheckpoint: what is taken, and what is not.
func TestR30_TimestampsAreOfTheCheckpoint(t *testing.T) {
	good, other := issue(t, x509.ExtKeyUsageTimeStamping), issue(t, x509.ExtKeyUsageTimeStamping)
	f := &File{Format: Format, Checkpoint: "sandgate.test/city\n1\nroot\n\n— sig\n"}
	query, nonce, err := f.StampRequest(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.TakeStamp([]byte("none"), nonce); err == nil || f.Timestamp != nil {
		t.Error("nonsense was taken")
	}
	for what, reply := range map[string][]byte{
		"another nonce":     good.reply(t, query, func(s *timestamp.Timestamp) { s.Nonce = big.NewInt(1) }),
		"another text":      good.reply(t, query, func(s *timestamp.Timestamp) { s.HashedMessage = make([]byte, 32) }),
		"no certificate":    good.reply(t, query, func(s *timestamp.Timestamp) { s.AddTSACertificate = false }),
		"a server's key":    issue(t, x509.ExtKeyUsageServerAuth).reply(t, query, nil),
		"a key for all":     issue(t, x509.ExtKeyUsageTimeStamping, x509.ExtKeyUsageServerAuth).reply(t, query, nil),
		"no purpose at all": issue(t).reply(t, query, nil),
	} {
		if _, err := f.TakeStamp(reply, nonce); err == nil || f.Timestamp != nil {
			t.Errorf("%s was taken", what)
		}
	}
	if _, err := f.TakeStamp(good.reply(t, query, nil), nonce); err != nil {
		t.Fatal(err)
	}
	if s, err := f.stamp(nil); err != nil || s.Trusted || !strings.Contains(s.Authority, "authority") {
		t.Errorf("%+v %v", s, err)
	}
	if s, err := f.stamp(good.pool()); err != nil || !s.Trusted || time.Since(s.At) > time.Minute {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := f.stamp(other.pool()); err == nil {
		t.Error("an unknown authority was trusted")
	}
	moved := *f
	moved.Checkpoint += " "
	if _, err := moved.stamp(good.pool()); err == nil {
		t.Error("a token of another checkpoint was taken")
	}
	bad := *f
	bad.Timestamp = bytes.Clone(f.Timestamp)
	for i := range bad.Timestamp {
		bad.Timestamp[i] ^= 1
		if s, err := bad.stamp(good.pool()); err == nil && (!s.Trusted || s.At != mustStamp(t, f, good.pool()).At) {
			t.Errorf("byte %d was changed: %+v", i, s)
		}
		bad.Timestamp[i] ^= 1
	}
	text, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse(text); err != nil || !bytes.Equal(again.Timestamp, f.Timestamp) {
		t.Error("the file lost its time-stamp")
	}
}

func mustStamp(t *testing.T, f *File, roots *x509.CertPool) *Stamp {
	t.Helper()
	s, err := f.stamp(roots)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// OpenSSL as the authority, and as the one who checks: neither shares code with us.
func TestR30_TimestampsMeetOpenSSL(t *testing.T) {
	tool, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("openssl is missing")
		}
		t.Skip("SKIPPED: openssl is not on the PATH; install it to check time-stamps against another implementation")
	}
	i := issue(t, x509.ExtKeyUsageTimeStamping)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	config := write("tsa.cnf", []byte("[tsa]\ndefault_tsa=t\n[t]\nserial="+write("serial", []byte("01\n"))+"\nsigner_digest=sha256\ndefault_policy=1.2.3.4\ndigests=sha256\nordering=no\ntsa_name=no\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n"))
	cert := write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
	root := write("root.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.root.Raw}))
	keyFile := write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	f := &File{Format: Format, Checkpoint: "sandgate.test/city\n1\nroot\n\n— sig\n"}
	query, nonce, err := f.StampRequest(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	reply := filepath.Join(dir, "reply")
	if out, err := exec.Command(tool, "ts", "-reply", "-config", config, "-queryfile", write("query", query), "-inkey", keyFile, "-signer", cert, "-out", reply).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(reply)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.TakeStamp(data, nonce); err != nil {
		t.Fatal(err)
	}
	if s := mustStamp(t, f, i.pool()); !s.Trusted {
		t.Errorf("%+v", s)
	}
	if out, err := exec.Command(tool, "ts", "-verify", "-token_in", "-in", write("token", f.Timestamp), "-data", write("data", []byte(f.Checkpoint)), "-CAfile", root).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
