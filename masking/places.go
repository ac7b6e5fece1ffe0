package masking

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Provinces are the 34 province-level divisions by their two-digit code (GB/T
// 2260) and full name.
var Provinces = []struct{ Code, Name string }{
	{"11", "北京市"}, {"12", "天津市"}, {"13", "河北省"}, {"14", "山西省"}, {"15", "内蒙古自治区"},
	{"21", "辽宁省"}, {"22", "吉林省"}, {"23", "黑龙江省"},
	{"31", "上海市"}, {"32", "江苏省"}, {"33", "浙江省"}, {"34", "安徽省"}, {"35", "福建省"}, {"36", "江西省"}, {"37", "山东省"},
	{"41", "河南省"}, {"42", "湖北省"}, {"43", "湖南省"}, {"44", "广东省"}, {"45", "广西壮族自治区"}, {"46", "海南省"},
	{"50", "重庆市"}, {"51", "四川省"}, {"52", "贵州省"}, {"53", "云南省"}, {"54", "西藏自治区"},
	{"61", "陕西省"}, {"62", "甘肃省"}, {"63", "青海省"}, {"64", "宁夏回族自治区"}, {"65", "新疆维吾尔自治区"},
	{"71", "台湾省"}, {"81", "香港特别行政区"}, {"82", "澳门特别行政区"},
}

// Levels of an address, from the coarsest.
const (
	LevelProvince = "province"
	LevelCity     = "city"
	LevelDistrict = "district"
)

// Address checks the shape of an address: OK when it starts with the full name of
// a province-level division and holds Han characters, letters, digits and ordinary
// punctuation only, else Malformed.
func Address(s string) Validity {
	if len(s) > 1024 || province(s) == "" {
		return Malformed
	}
	for _, c := range s {
		if unicode.IsControl(c) || c == utf8.RuneError {
			return Malformed
		}
	}
	return OK
}

func province(s string) string {
	for _, p := range Provinces {
		if strings.HasPrefix(s, p.Name) {
			return p.Name
		}
	}
	return ""
}

// maxDivision is the longest name of a county-level division in characters.
const maxDivision = 15

// address generalises to a level. It reads as far as the shape of the names
// allows and keeps what it read, so that a coarser level is always a function of
// a finer one; without a full province name the result is NULL. A municipality
// (直辖市) is its own city.
func address(v, level string) (string, bool) {
	p := province(v)
	if p == "" {
		return "", true
	}
	out, rest := p, v[len(p):]
	if level == LevelProvince {
		return out, false
	}
	if strings.HasSuffix(p, "市") {
		// Some registers repeat the municipality or name its only "city".
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, p), "市辖区")
	} else {
		city := division(rest, "市", "地区", "自治州", "盟")
		if city == "" {
			return out, false
		}
		out, rest = out+city, rest[len(city):]
	}
	if level == LevelCity {
		return out, false
	}
	return out + division(rest, "区", "县", "市", "旗"), false
}

// notDivisions end like the name of a division and are none: a compound, an
// estate, a campus. What stands before them is no name of a division.
var notDivisions = []string{"小区", "社区", "园区", "校区", "厂区", "街区", "院区", "景区", "库区", "住宅区", "生活区", "家属区", "别墅区"}

// division is the shortest start of s that reads as the name of a division: two
// or more Han characters of which the last ones are a suffix. Empty when there is
// none within the length of the longest real name. The name is not looked up.
func division(s string, suffixes ...string) string {
	n := 0
	for i, c := range s {
		if !unicode.Is(unicode.Han, c) || n == maxDivision {
			return ""
		}
		n++
		end := i + utf8.RuneLen(c)
		if n < 2 || !endsIn(s[:end], suffixes) {
			continue
		}
		// 红旗区, 新市区: the next character may complete the name.
		if next, size := utf8.DecodeRuneInString(s[end:]); (c == '市' || c == '旗') && (next == '区' || next == '县') && endsIn(string(next), suffixes) {
			end += size
		}
		if endsIn(s[:end], notDivisions) {
			return ""
		}
		return s[:end]
	}
	return ""
}

func endsIn(s string, suffixes []string) bool {
	for _, x := range suffixes {
		if strings.HasSuffix(s, x) {
			return true
		}
	}
	return false
}
