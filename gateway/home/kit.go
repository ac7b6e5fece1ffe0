package home

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Kit is what one party holds to take part: its certificate and key for mTLS,
// its Ed25519 signing key, and the authority it pins. It stands in a directory
// of its own, on the party's machine.
type Kit struct {
	Dir     string `json:"-"` // where it was opened; a kit may be moved
	Party   string `json:"party"`
	Server  string `json:"server"` // host:port of the gateway
	Version int    `json:"version"`
	Origin  string `json:"origin"` // of the gateway's ledger, which signed requests name
}

const (
	kitFile     = "party.json"
	kitCert     = "tls.pem"
	kitKey      = "tls.key"
	kitSignKey  = "sign.key"
	signKeyType = "SANDGATE SIGNING KEY"
)

var partyPattern = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// CheckParty says whether the registry could ever know a party by this id; a
// certificate for any other would be of no use.
func CheckParty(id string) error {
	if !partyPattern.MatchString(id) {
		return texts.Errorf("%q is not a party id: lower-case letters, digits, _ and -, a letter first, at most 63", id)
	}
	return nil
}

// CheckEmpty says whether a kit or a home may be written to dir: nothing is ever
// overwritten.
func CheckEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return texts.Errorf("failed to look into directory: %w", err)
	case len(entries) > 0:
		return texts.Errorf("directory %s is not empty; homes and kits are never overwritten", dir)
	}
	return nil
}

// NewKit draws a party's keys and writes its kit to dir, which must not exist or
// be empty. The home's authority issues the certificate; issuing gives no right:
// rights come from the registry that the regulator signs.
func (h *Home) NewKit(keys *Keys, dir, party, server string, now time.Time) (*Kit, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, texts.Errorf("failed to draw a signing key: %w", err)
	}
	return h.NewKitWithKey(keys, dir, party, server, priv, now)
}

// NewKitWithKey is NewKit for a party whose signing key exists already.
func (h *Home) NewKitWithKey(keys *Keys, dir, party, server string, sign ed25519.PrivateKey, now time.Time) (*Kit, error) {
	if err := CheckParty(party); err != nil {
		return nil, err
	}
	if err := CheckEmpty(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, texts.Errorf("failed to create kit: %w", err)
	}
	list, caPEM, err := h.authorities(keys, now)
	if err != nil {
		return nil, err
	}
	cert, tlsKey, err := newPair(list[0], party, now)
	if err != nil {
		return nil, err
	}
	k := &Kit{Dir: dir, Party: party, Server: server, Version: 1, Origin: h.Config.Origin}
	text, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return nil, texts.Errorf("failed to encode kit: %w", err)
	}
	files := map[string][]byte{
		kitFile: append(text, '\n'), caFile: caPEM, kitCert: cert,
		kitKey:     tlsKey,
		kitSignKey: EncodeSigningKey(sign),
	}
	for name, data := range files {
		if err := writeFile(dir, name, data); err != nil {
			return nil, texts.Errorf("failed to write kit: %w", err)
		}
	}
	return k, nil
}

// EncodeSigningKey renders an Ed25519 signing key as PEM.
func EncodeSigningKey(k ed25519.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: signKeyType, Bytes: k.Seed()})
}

// ReadSigningKey reads a PEM signing key.
func ReadSigningKey(path string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, texts.Errorf("failed to read signing key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != signKeyType || len(block.Bytes) != ed25519.SeedSize {
		return nil, texts.Errorf("%s holds no Sandgate signing key", path)
	}
	return ed25519.NewKeyFromSeed(block.Bytes), nil
}

// OpenKit reads a party's kit.
func OpenKit(dir string) (*Kit, error) {
	text, err := os.ReadFile(filepath.Join(dir, kitFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, texts.Errorf("%s is not a party's kit: %s is missing; make one with: sandgate party create", dir, kitFile)
	}
	if err != nil {
		return nil, texts.Errorf("failed to read kit: %w", err)
	}
	k := &Kit{Dir: dir}
	if err := json.Unmarshal(text, k); err != nil {
		return nil, texts.Errorf("failed to parse %s: %w", kitFile, err)
	}
	if k.Version != 1 || k.Party == "" {
		return nil, texts.Errorf("%s is not of a version this program knows", kitFile)
	}
	return k, nil
}

// Renew issues a new certificate with a new TLS key to a kit's party, and brings the
// authorities that it trusts up to date. Its signing
// key, which the registry names, stays. The old certificate ends at its own time.
func (h *Home) Renew(keys *Keys, k *Kit, now time.Time) error {
	list, caPEM, err := h.authorities(keys, now)
	if err != nil {
		return err
	}
	cert, key, err := newPair(list[0], k.Party, now)
	if err != nil {
		return err
	}
	// The pair is written key first: a crash between leaves a pair that does not load,
	// and the command is repeated.
	return errors.Join(writeFile(k.Dir, kitKey, key), writeFile(k.Dir, kitCert, cert), writeFile(k.Dir, caFile, caPEM))
}

// newPair draws a TLS key and issues its certificate, both PEM.
func newPair(ca authority, party string, now time.Time) (cert, key []byte, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, texts.Errorf("failed to draw a TLS key: %w", err)
	}
	if cert, err = issueParty(ca.cert, ca.key, public, party, now); err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, texts.Errorf("failed to encode TLS key: %w", err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// SigningKey returns the party's signing key.
func (k *Kit) SigningKey() (ed25519.PrivateKey, error) {
	return ReadSigningKey(filepath.Join(k.Dir, kitSignKey))
}

// TLS is the party's side of mutual TLS.
func (k *Kit) TLS() (*tls.Config, error) {
	ca, err := readCerts(filepath.Join(k.Dir, caFile))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(k.Dir, kitCert), filepath.Join(k.Dir, kitKey))
	if err != nil {
		return nil, texts.Errorf("failed to read the party's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	for _, cert := range ca {
		pool.AddCert(cert)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{pair}}, nil
}
