package home

import (
	"crypto"
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

	"github.com/emmansun/gmsm/sm2"

	"github.com/sandgate/sandgate/policies/signature"
)

// Kit is what one party holds to take part: its certificate and key for mTLS,
// its signing key (Ed25519, or SM2 where the home's profile is gm), and the authority it pins. It stands in a directory
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
	signKeyType = "SANDGATE SIGNING KEY"     // a seed of Ed25519
	sm2KeyType  = "SANDGATE SM2 SIGNING KEY" // a number, big endian
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
	priv, err := DrawSigningKey(h.Config.Crypto())
	if err != nil {
		return nil, err
	}
	return h.NewKitWithKey(keys, dir, party, server, priv, now)
}

// NewKitWithKey is NewKit for a party whose signing key exists already.
func (h *Home) NewKitWithKey(keys *Keys, dir, party, server string, sign crypto.Signer, now time.Time) (*Kit, error) {
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
	signKey, err := EncodeSigningKey(sign)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		kitFile: append(text, '\n'), caFile: caPEM, kitCert: cert,
		kitKey:     tlsKey,
		kitSignKey: signKey,
	}
	for name, data := range files {
		if err := writeFile(dir, name, data); err != nil {
			return nil, texts.Errorf("failed to write kit: %w", err)
		}
	}
	return k, nil
}

// DrawSigningKey draws a party's signing key of an algorithm.
func DrawSigningKey(of signature.Algorithm) (crypto.Signer, error) {
	switch of {
	case signature.SM2:
		key, err := sm2.GenerateKey(rand.Reader)
		if err != nil {
			return nil, texts.Errorf("failed to draw a signing key: %w", err)
		}
		return key, nil
	case signature.Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, texts.Errorf("failed to draw a signing key: %w", err)
		}
		return key, nil
	}
	return nil, texts.Errorf("unknown algorithm %q of signing keys; known: ed25519, sm2", of)
}

// EncodeSigningKey renders a signing key as PEM.
func EncodeSigningKey(key crypto.Signer) ([]byte, error) {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return pem.EncodeToMemory(&pem.Block{Type: signKeyType, Bytes: k.Seed()}), nil
	case *sm2.PrivateKey:
		e, err := k.ECDH()
		if err != nil {
			return nil, texts.Errorf("failed to write the signing key: %w", err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: sm2KeyType, Bytes: e.Bytes()}), nil
	}
	return nil, texts.Errorf("unknown kind of signing key")
}

// ReadSigningKey reads a PEM signing key.
func ReadSigningKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, texts.Errorf("failed to read signing key: %w", err)
	}
	block, _ := pem.Decode(text)
	switch {
	case block != nil && block.Type == signKeyType && len(block.Bytes) == ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(block.Bytes), nil
	case block != nil && block.Type == sm2KeyType:
		if key, err := signature.NewSM2(block.Bytes); err == nil {
			return key, nil
		}
	}
	return nil, texts.Errorf("%s holds no Sandgate signing key", path)
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
func (k *Kit) SigningKey() (crypto.Signer, error) {
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
