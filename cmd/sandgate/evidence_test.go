package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdAuthority starts a time-stamping authority: its URL is in $TSA, its root in
// tsa-root.pem.
func cmdAuthority(ts *testscript.TestScript, _ bool, _ []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	timeStamping := pkix.Extension{Id: []int{2, 5, 29, 37}, Critical: true, Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08}}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tsa.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{timeStamping}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	cert, err := x509.ParseCertificate(der)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("tsa-root.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		q, err := timestamp.ParseRequest(body)
		if err != nil {
			http.Error(w, "no query", http.StatusBadRequest)
			return
		}
		t := &timestamp.Timestamp{HashAlgorithm: q.HashAlgorithm, HashedMessage: q.HashedMessage, Time: time.Now(), Nonce: q.Nonce, Policy: []int{1, 2, 3}, AddTSACertificate: true}
		out, err := t.CreateResponseWithOpts(cert, key, crypto.SHA256)
		if err != nil {
			http.Error(w, "no answer", http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(out)
	}))
	ts.Defer(server.Close)
	ts.Setenv("TSA", server.URL)
}
