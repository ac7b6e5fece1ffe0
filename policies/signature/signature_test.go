package signature

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm2"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The example of GB/T 32918.5-2017, annex A.2.
func TestR30_SM2Vector(t *testing.T) {
	private := unhex(t, "3945208F 7B2144B1 3F36E38A C6D39F95 88939369 2860B51A 42FB81EF 4DF7C5B8")
	point := unhex(t, "04 09F9DF31 1E5421A1 50DD7D16 1E4BC5C6 72179FAD 1833FC07 6BB08FF3 56F35020"+
		"CCEA490C E26775A5 2DC6EA71 8CC1AA60 0AED05FB F35E084A 6632F607 2DA9AD13")
	sig, err := asn1.Marshal([]*big.Int{
		new(big.Int).SetBytes(unhex(t, "F5A03B06 48D2C463 0EEAC513 E1BB81A1 5944DA38 27D5B741 43AC7EAC EEE720B3")),
		new(big.Int).SetBytes(unhex(t, "B1B6AA29 DF212FD8 763182BC 0D421CA1 BB9038FD 1F7F42D4 840B69C4 85BBC1AA")),
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewSM2(private)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Public(key); err != nil || !bytes.Equal(got, point) {
		t.Fatalf("public key %x, %v", got, err)
	}
	message := []byte("message digest")
	if !Verify(point, message, sig) {
		t.Error("the standard's signature does not verify")
	}
	own, err := Sign(key, message)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := Sign(key, message)
	if !bytes.Equal(own, again) {
		t.Error("two signatures of one message differ")
	}
	if !Verify(point, message, own) {
		t.Error("our signature does not verify")
	}
}

func TestR30_NothingElseVerifies(t *testing.T) {
	gm, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("一段文字")
	gmPublic, err := Public(gm)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, err := Public(ed)
	if err != nil {
		t.Fatal(err)
	}
	gmSig, err := Sign(gm, message)
	if err != nil {
		t.Fatal(err)
	}
	edSig, err := Sign(ed, message)
	if err != nil {
		t.Fatal(err)
	}
	if !Verify(gmPublic, message, gmSig) || !Verify(edPublic, message, edSig) {
		t.Fatal("a signature does not verify")
	}
	for i := range gmSig {
		bad := bytes.Clone(gmSig)
		bad[i] ^= 1
		if Verify(gmPublic, message, bad) {
			t.Errorf("byte %d of the signature may be changed", i)
		}
	}
	otherID, err := gm.SignWithSM2(rand.Reader, []byte("another identity"), message)
	if err != nil {
		t.Fatal(err)
	}
	withoutID, err := gm.Sign(rand.Reader, make([]byte, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"other message":         Verify(gmPublic, []byte("another"), gmSig),
		"longer signature":      Verify(gmPublic, message, append(bytes.Clone(gmSig), 0)),
		"shorter signature":     Verify(gmPublic, message, gmSig[:len(gmSig)-1]),
		"empty signature":       Verify(gmPublic, message, nil),
		"another identity":      Verify(gmPublic, message, otherID),
		"digest only":           Verify(gmPublic, message, withoutID),
		"Ed25519 under SM2":     Verify(gmPublic, message, edSig),
		"SM2 under Ed25519":     Verify(edPublic, message, gmSig),
		"no key":                Verify(nil, message, edSig),
		"compressed point":      Verify(append([]byte{2}, gmPublic[1:33]...), message, gmSig),
		"point beside":          Verify(append(bytes.Clone(gmPublic[:64]), gmPublic[64]^1), message, gmSig),
		"coordinates as hybrid": Verify(append([]byte{6}, gmPublic[1:]...), message, gmSig),
	} {
		if ok {
			t.Errorf("%s verifies", name)
		}
	}
}

func TestKeyTexts(t *testing.T) {
	gm, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Public(gm)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(Text(raw))
	if err != nil || !bytes.Equal(back, raw) || !strings.HasPrefix(Text(raw), "sm2:") {
		t.Errorf("%x, %v", back, err)
	}
	point := base64.StdEncoding.EncodeToString(raw)
	for _, bad := range []string{
		"", "sm2:", "sm2", point, "sm2: " + point, "SM2:" + point, "sm2:sm2:" + point, "sm2:" + point + "\n",
		"sm2:" + base64.StdEncoding.EncodeToString(raw[:64]), "sm2:" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"sm2:" + base64.StdEncoding.EncodeToString(append(bytes.Clone(raw[:64]), raw[64]^1)), // beside the curve
		"sm2:" + base64.StdEncoding.EncodeToString(make([]byte, 65)),
		base64.StdEncoding.EncodeToString(make([]byte, 31)),
	} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is read as a key", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("sm2:BAECAwQ=")
	f.Add(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	f.Fuzz(func(t *testing.T, text string) {
		key, err := Parse(text)
		if err == nil && Text(key) != text {
			t.Errorf("%q is read and written as %q", text, Text(key))
		}
	})
}
