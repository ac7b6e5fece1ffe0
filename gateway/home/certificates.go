package home

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	caTerm   = 10 * 365 * 24 * time.Hour
	certTerm = 365 * 24 * time.Hour
	// skew lets a certificate made now be used by a machine whose clock is a
	// little behind.
	skew = 5 * time.Minute
)

func serial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

func newCA(origin string, key ed25519.PrivateKey, now time.Time) (*x509.Certificate, []byte, error) {
	n, err := serial()
	if err != nil {
		return nil, nil, fmt.Errorf("failed to draw a serial: %w", err)
	}
	tpl := &x509.Certificate{
		SerialNumber: n, Subject: pkix.Name{CommonName: "Sandgate CA " + origin},
		NotBefore: now.Add(-skew), NotAfter: now.Add(caTerm),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to make the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return cert, encodeCert(der), err
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func issueServer(ca *x509.Certificate, caKey, key ed25519.PrivateKey, hosts []string, now time.Time) ([]byte, error) {
	n, err := serial()
	if err != nil {
		return nil, fmt.Errorf("failed to draw a serial: %w", err)
	}
	tpl := &x509.Certificate{
		SerialNumber: n, Subject: pkix.Name{CommonName: "sandgate gateway"},
		NotBefore: now.Add(-skew), NotAfter: now.Add(certTerm),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			tpl.IPAddresses = append(tpl.IPAddresses, ip)
		} else {
			tpl.DNSNames = append(tpl.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, ca, key.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("failed to make the gateway's certificate: %w", err)
	}
	return encodeCert(der), nil
}

// partyURI is the subject alternative name that names a party.
func partyURI(id string) *url.URL { return &url.URL{Scheme: "sandgate", Host: "party", Path: "/" + id} }

// PartyOf returns the party a verified client certificate names.
func PartyOf(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", errors.New("client certificate names no party")
	}
	u := cert.URIs[0]
	if u.Scheme != "sandgate" || u.Host != "party" || len(u.Path) < 2 {
		return "", errors.New("client certificate names no party")
	}
	return u.Path[1:], nil
}

func issueParty(ca *x509.Certificate, caKey ed25519.PrivateKey, pub ed25519.PublicKey, id string, now time.Time) ([]byte, error) {
	n, err := serial()
	if err != nil {
		return nil, fmt.Errorf("failed to draw a serial: %w", err)
	}
	tpl := &x509.Certificate{
		SerialNumber: n, Subject: pkix.Name{CommonName: id}, URIs: []*url.URL{partyURI(id)},
		NotBefore: now.Add(-skew), NotAfter: now.Add(certTerm),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, ca, pub, caKey)
	if err != nil {
		return nil, fmt.Errorf("failed to make the party's certificate: %w", err)
	}
	return encodeCert(der), nil
}

func readCert(path string) (*x509.Certificate, []byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to read certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, nil, fmt.Errorf("%s holds no certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to parse %s: %w", path, err)
	}
	return cert, text, nil
}

// renewBefore is how long before its end a certificate is worth a warning, and the
// gateway's own is made anew at a start.
const renewBefore = 30 * 24 * time.Hour

// ServerTLS is the gateway's mutual TLS: version 1.3, and no connection without
// a certificate of this home's authority. The gateway's certificate is made anew when
// it is not of the key in force, or ends soon.
func (h *Home) ServerTLS(keys *Keys, now time.Time) (*tls.Config, error) {
	ca, _, err := readCert(h.CACert())
	if err != nil {
		return nil, err
	}
	cert, _, err := readCert(filepath.Join(h.Dir, serverFile))
	if err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(keys.Server)
	if have, ok := cert.PublicKey.(ed25519.PublicKey); !ok || !have.Equal(key.Public()) || now.Add(renewBefore).After(cert.NotAfter) {
		text, err := issueServer(ca, ed25519.NewKeyFromSeed(keys.CA), key, h.Config.Hosts, now)
		if err != nil {
			return nil, err
		}
		if err := writeFile(h.Dir, serverFile, text); err != nil {
			return nil, err
		}
		if cert, _, err = readCert(filepath.Join(h.Dir, serverFile)); err != nil {
			return nil, err
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}},
		NextProtos:   []string{"h2"},
	}, nil
}

// Certificate is one that ends at some time.
type Certificate struct {
	File  string    `json:"file"`
	Until time.Time `json:"until"`
	Soon  bool      `json:"soon"` // ends within a month, or has ended
}

// Certificates are those of a home or of a party's kit, with when they end.
func Certificates(dir string, now time.Time) ([]Certificate, error) {
	var out []Certificate
	for _, name := range []string{caFile, serverFile, kitCert} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		cert, _, err := readCert(path)
		if err != nil {
			return nil, err
		}
		out = append(out, Certificate{path, cert.NotAfter.UTC(), now.Add(renewBefore).After(cert.NotAfter)})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no certificate: name a gateway's home or a party's kit", dir)
	}
	return out, nil
}
