package masking

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestValidators(t *testing.T) {
	plate := func(s string) Validity { _, v := Plate(s); return v }
	for name, c := range map[string]struct {
		check    func(string) Validity
		ok, fail []string
	}{
		"thing": {ThingPhone, []string{"1064912345678", "1440012345678"}, []string{"", "13800138000", "1394912345678", "10649123456789", "106491234567x"}},
		"legacy": {LegacyCitizenID, []string{"340524800101001", "110105491231996", "110105040229001"},
			[]string{"", "340524801301001", "040524800101001", "34052480010100", "34052480010100X", "110105000229001"}},
		"email": {Email, []string{"a@b.cn", "first.last+x@mail.example.com", "a@1a.b-c.org"},
			[]string{"", "@b.cn", "a@", "a@b", "a.@b.cn", ".a@b.cn", "a..b@c.cn", "a@b..cn", "a@-b.cn", "a@b-.cn", "a@b.1", "a b@c.cn", "a@b@c.cn", "张@b.cn", "a@" + strings.Repeat("x", 64) + ".cn", strings.Repeat("x", 65) + "@b.cn", "a\n@b.cn"}},
		"plate": {plate, []string{"黑A12345", "京AD12345", "京A12345D", "黑AF12345", "粤Z1234港", "粤Z1234澳", "黑A1234挂", "黑A1234学", "黑A1234警", "京AAB123", "京ADA1234"},
			[]string{"", "黑A1234", "黑A123456", "黑I12345", "黑A1234I", "AA12345", "黑a12345", "黑A·12345", "黑A1234领", "京AL12345", "黑A12345挂"}},
		"name": {PersonalName, []string{"张", "张三", "欧阳娜娜", "阿依古丽·买买提", "𠮷田一", "古丽•艾合买提"},
			[]string{"", "·张", "张·", "张··三", "John", "张三1", " 张三", "张\xff", strings.Repeat("张", 31)}},
		"address": {Address, []string{"黑龙江省哈尔滨市", "北京市朝阳区建国路1号(甲)", "广西壮族自治区"}, []string{"", "哈尔滨市", "黑龙江", "黑龙江省\x00", "黑龙江省\xff", "黑龙江省" + strings.Repeat("长", 400)}},
	} {
		for _, s := range c.ok {
			if c.check(s) != OK {
				t.Errorf("%s: %q is %v", name, s, c.check(s))
			}
		}
		for _, s := range c.fail {
			if c.check(s) != Malformed {
				t.Errorf("%s: %q is %v", name, s, c.check(s))
			}
		}
	}
	for s, want := range map[string]PlateKind{"黑A12345": PlateOrdinary, "京AD12345": PlateNewEnergy, "京A12345D": PlateNewEnergy, "黑A1234挂": PlateSpecial, "": ""} {
		if got, _ := Plate(s); got != want {
			t.Errorf("%q is %q", s, got)
		}
	}
}

func TestProvincesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for i, p := range Provinces {
		if seen[p.Code] || seen[p.Name] || i > 0 && Provinces[i-1].Code >= p.Code || province(p.Name) != p.Name {
			t.Errorf("%v", p)
		}
		seen[p.Code], seen[p.Name] = true, true
	}
	if len(Provinces) != 34 {
		t.Errorf("%d provinces", len(Provinces))
	}
}

// A legacy number and its 18-digit form agree on what is a date.
func TestR18_LegacyAgreesWithNormalised(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for range 5000 {
		b := []byte("230100")
		for len(b) < 15 {
			b = append(b, byte('0'+r.IntN(10)))
		}
		s := string(b)
		n, ok := NormaliseCitizenID(s)
		if ok && (CitizenID(n) == OK) != (LegacyCitizenID(s) == OK) {
			t.Fatalf("the two forms of one number disagree: %v", LegacyCitizenID(s))
		}
	}
}

func TestCompoundSurnamesHaveTwoCharacters(t *testing.T) {
	for s := range compoundSurnames {
		if len([]rune(s)) != 2 || PersonalName(s) != OK {
			t.Errorf("%q", s)
		}
	}
}

// FuzzValidators: no text breaks a validator, and what one accepts is bounded.
func FuzzValidators(f *testing.F) {
	for _, s := range []string{"", "黑A12345", "a@b.cn", "1064912345678", "张三", "\xff\xfe", "京AD12345"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		_, plate := Plate(v)
		for most, got := range map[int]Validity{10: plate, 254: Email(v), 13: ThingPhone(v), 15: LegacyCitizenID(v), 4 * maxName: PersonalName(v), 1024: Address(v)} {
			if got == OK && len(v) > most {
				t.Fatalf("%d bytes accepted, at most %d", len(v), most)
			}
		}
		if out, null := platePrefix(v); null != (plate != OK) || len(out) > 4 {
			t.Fatal("plate prefix")
		}
		if out, null := emailDomain(v); null != (Email(v) != OK) || strings.Contains(out, "@") {
			t.Fatal("e-mail domain")
		}
	})
}
