package home

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
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
		return nil, nil, texts.Errorf("failed to draw a serial: %w", err)
	}
	tpl := &x509.Certificate{
		SerialNumber: n, Subject: pkix.Name{CommonName: "Sandgate CA " + origin},
		NotBefore: now.Add(-skew), NotAfter: now.Add(caTerm),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		return nil, nil, texts.Errorf("failed to make the authority's certificate: %w", err)
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
		return nil, texts.Errorf("failed to draw a serial: %w", err)
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
		return nil, texts.Errorf("failed to make the gateway's certificate: %w", err)
	}
	return encodeCert(der), nil
}

// partyURI is the subject alternative name that names a party.
func partyURI(id string) *url.URL { return &url.URL{Scheme: "sandgate", Host: "party", Path: "/" + id} }

// PartyOf returns the party a verified client certificate names.
func PartyOf(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", texts.Errorf("client certificate names no party")
	}
	u := cert.URIs[0]
	if u.Scheme != "sandgate" || u.Host != "party" || len(u.Path) < 2 {
		return "", texts.Errorf("client certificate names no party")
	}
	return u.Path[1:], nil
}

func issueParty(ca *x509.Certificate, caKey ed25519.PrivateKey, pub ed25519.PublicKey, id string, now time.Time) ([]byte, error) {
	n, err := serial()
	if err != nil {
		return nil, texts.Errorf("failed to draw a serial: %w", err)
	}
	tpl := &x509.Certificate{
		SerialNumber: n, Subject: pkix.Name{CommonName: id}, URIs: []*url.URL{partyURI(id)},
		NotBefore: now.Add(-skew), NotAfter: now.Add(certTerm),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, ca, pub, caKey)
	if err != nil {
		return nil, texts.Errorf("failed to make the party's certificate: %w", err)
	}
	return encodeCert(der), nil
}

// readCerts reads one certificate or several.
func readCerts(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, texts.Errorf("failed to read certificate: %w", err)
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, texts.Errorf("%s holds what is no certificate", path)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, texts.Errorf("failed to parse %s: %w", path, err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, texts.Errorf("%s holds no certificate", path)
	}
	return out, nil
}

// authority is a certificate authority with its key.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// authorities are those in force: the one that issues, then the one of before until it
// is retired. The file of their certificates is brought in line with the keyring,
// which a crash may have changed alone. text is that file, as kits hold it.
func (h *Home) authorities(keys *Keys, now time.Time) (list []authority, text []byte, err error) {
	have, err := readCerts(h.CACert())
	if err != nil {
		return nil, nil, err
	}
	for _, c := range have {
		// One byte of it may be another and it still parse; no client would be let in by it.
		if c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
			return nil, nil, texts.Errorf("%s is damaged: bring it back from a backup, or from any kit of this gateway", h.CACert())
		}
	}
	seeds := [][]byte{keys.CA}
	for _, old := range slices.Backward(keys.Old[entry.KeyCA]) {
		seeds = append(seeds, old.Key)
	}
	for _, seed := range seeds {
		key := ed25519.NewKeyFromSeed(seed)
		i := slices.IndexFunc(have, func(c *x509.Certificate) bool { return hasKey(c, key) })
		var cert *x509.Certificate
		if i >= 0 {
			cert = have[i]
		} else if cert, _, err = newCA(h.Config.Origin, key, now); err != nil {
			return nil, nil, err
		}
		list, text = append(list, authority{cert, key}), append(text, encodeCert(cert.Raw)...)
	}
	if len(have) == len(list) && !slices.ContainsFunc(list, func(a authority) bool { return !slices.ContainsFunc(have, a.cert.Equal) }) && have[0].Equal(list[0].cert) {
		return list, text, nil
	}
	return list, text, writeFile(h.Dir, caFile, text)
}

// Authority is the authority of a verified client certificate's chain, by its public
// key; nil when the home's keyring has none such in force.
func Authority(keys *Keys, chain []*x509.Certificate) ed25519.PublicKey {
	root, _ := chain[len(chain)-1].PublicKey.(ed25519.PublicKey)
	for _, seed := range append([]Held{{Key: keys.CA}}, keys.Old[entry.KeyCA]...) {
		if key := AuthorityKey(seed.Key); key.Equal(root) {
			return key
		}
	}
	return nil
}

// AuthorityKey is the public key of an authority.
func AuthorityKey(seed []byte) ed25519.PublicKey {
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
}

func hasKey(c *x509.Certificate, key ed25519.PrivateKey) bool {
	have, ok := c.PublicKey.(ed25519.PublicKey)
	return ok && have.Equal(key.Public())
}

func readCert(path string) (*x509.Certificate, []byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, texts.Errorf("failed to read certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, nil, texts.Errorf("%s holds no certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, texts.Errorf("failed to parse %s: %w", path, err)
	}
	return cert, text, nil
}

// renewBefore is how long before its end a certificate is worth a warning, and the
// gateway's own is made anew at a start.
const renewBefore = 30 * 24 * time.Hour

// ServerTLS is the gateway's mutual TLS: version 1.3, and no connection without
// a certificate of this home's authority, or of the one before until it is retired. So
// long the gateway's own is of that one, which every kit trusts. It is made anew when
// it is not of the key or the authority that it should be, or ends soon.
func (h *Home) ServerTLS(keys *Keys, now time.Time) (*tls.Config, error) {
	list, _, err := h.authorities(keys, now)
	if err != nil {
		return nil, err
	}
	issuer := list[len(list)-1]
	cert, _, err := readCert(filepath.Join(h.Dir, serverFile))
	if err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(keys.Server)
	if !hasKey(cert, key) || cert.CheckSignatureFrom(issuer.cert) != nil || now.Add(renewBefore).After(cert.NotAfter) {
		text, err := issueServer(issuer.cert, issuer.key, key, h.Config.Hosts, now)
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
	for _, a := range list {
		pool.AddCert(a.cert)
	}
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
		certs, err := readCerts(path)
		if err != nil {
			return nil, err
		}
		for _, cert := range certs {
			out = append(out, Certificate{path, cert.NotAfter.UTC(), now.Add(renewBefore).After(cert.NotAfter)})
		}
	}
	if len(out) == 0 {
		return nil, texts.Errorf("%s holds no certificate: name a gateway's home or a party's kit", dir)
	}
	return out, nil
}
