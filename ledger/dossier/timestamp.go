package dossier

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"io"
	"math/big"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"
)

// maxToken is the largest time-stamp token that a file holds, in bytes.
const maxToken = 64 << 10

// Stamp is a time-stamp 时间戳 of an authority that stands outside of the ledger and
// its witnesses: the checkpoint, cosignatures and all, existed at At.
type Stamp struct {
	At time.Time `json:"at"`
	// Authority is the subject of the certificate that signed it.
	Authority string `json:"authority"`
	// Trusted says that the certificate leads to a root that the verifier named.
	// Otherwise the token is whole and of this checkpoint, and who made it is open.
	Trusted bool `json:"trusted"`
}

// StampRequest is the DER of a time-stamp query (RFC 3161 §2.4.1) over the SHA-256 of
// the file's checkpoint, with a random nonce, asking for the authority's certificate.
func (f *File) StampRequest(rnd io.Reader) (query []byte, nonce *big.Int, err error) {
	var b [8]byte
	if _, err := io.ReadFull(rnd, b[:]); err != nil {
		return nil, nil, texts.Errorf("failed to draw a nonce: %w", err)
	}
	nonce = new(big.Int).SetBytes(b[:])
	query, err = timestamp.CreateRequest(bytes.NewReader([]byte(f.Checkpoint)), &timestamp.RequestOptions{Hash: crypto.SHA256, Certificates: true, Nonce: nonce})
	if err != nil {
		return nil, nil, texts.Errorf("failed to make a time-stamp query: %w", err)
	}
	return query, nonce, nil
}

// TakeStamp puts the token of an authority's reply into the file, if it answers the
// query with this nonce.
func (f *File) TakeStamp(reply []byte, nonce *big.Int) (*Stamp, error) {
	t, err := timestamp.ParseResponse(reply)
	if err != nil {
		return nil, texts.Errorf("the authority gave no time-stamp: its reply is no granted RFC 3161 response")
	}
	if t.Nonce == nil || t.Nonce.Cmp(nonce) != 0 {
		return nil, texts.Errorf("the authority's reply answers another query")
	}
	was := f.Timestamp
	f.Timestamp = t.RawToken
	s, err := f.stamp(nil)
	if err != nil {
		f.Timestamp = was
		return nil, err
	}
	return s, nil
}

// stamp checks the token, if there is one: it is signed, by one signer who may sign
// time-stamps and nothing else, and it is of this checkpoint.
func (f *File) stamp(roots *x509.CertPool) (*Stamp, error) {
	if f.Timestamp == nil {
		return nil, nil
	}
	if len(f.Timestamp) > maxToken {
		return nil, texts.Errorf("the time-stamp is larger than %d bytes", maxToken)
	}
	p7, err := pkcs7.Parse(f.Timestamp)
	if err != nil {
		return nil, texts.Errorf("the time-stamp is damaged")
	}
	t, err := timestamp.Parse(f.Timestamp)
	if err != nil {
		return nil, texts.Errorf("the time-stamp is damaged, or its signature does not hold")
	}
	signer := p7.GetOnlySigner()
	if signer == nil {
		return nil, texts.Errorf("the time-stamp lacks its signer's certificate")
	}
	if len(signer.ExtKeyUsage) != 1 || signer.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping {
		return nil, texts.Errorf("the time-stamp's certificate is not one for time-stamps alone (RFC 3161 §2.3)")
	}
	if sum := sha256.Sum256([]byte(f.Checkpoint)); t.HashAlgorithm != crypto.SHA256 || !bytes.Equal(t.HashedMessage, sum[:]) {
		return nil, texts.Errorf("the time-stamp is of something else than the checkpoint")
	}
	s := &Stamp{At: t.Time.UTC(), Authority: signer.Subject.String()}
	if roots == nil {
		return s, nil
	}
	between := x509.NewCertPool()
	for _, c := range p7.Certificates {
		between.AddCert(c)
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: t.Time, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}}
	if _, err := signer.Verify(opts); err != nil {
		return nil, texts.Errorf("the time-stamp's certificate does not lead to the root named")
	}
	s.Trusted = true
	return s, nil
}
