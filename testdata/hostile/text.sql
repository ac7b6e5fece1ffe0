-- name: nul-at-end
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM visits\x00

-- name: nul-hides-rest
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM visits\x00; DROP TABLE visits

-- name: nul-in-literal
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM visits WHERE diagnosis = 'a\x00b'

-- name: invalid-utf8
-- refuse: NOT_UTF8
-- escapes: yes
SELECT COUNT(*) FROM visits WHERE diagnosis = '\xff\xfe'

-- name: overlong-utf8
-- refuse: NOT_UTF8
-- escapes: yes
SELECT COUNT(*) FROM visits WHERE diagnosis = '\xc0\xaf'

-- name: surrogate-utf8
-- refuse: NOT_UTF8
-- escapes: yes
SELECT COUNT(*) FROM visits WHERE diagnosis = '\xed\xa0\x80'

-- name: truncated-utf8
-- refuse: NOT_UTF8
-- escapes: yes
SELECT COUNT(*) FROM visits WHERE diagnosis = 'a' --\xe7\xa0

-- name: byte-order-mark
-- refuse: CHARACTER
-- escapes: yes
\ufeffSELECT COUNT(*) FROM visits

-- name: right-to-left-override
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM visits /* \u202e */ WHERE fee_yuan > 1

-- name: bidi-isolate
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM visits \u2066WHERE fee_yuan > 1\u2069

-- name: zero-width-in-name
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM vis\u200bits

-- name: soft-hyphen-in-name
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM vis\u00adits

-- name: no-break-space
-- refuse: CHARACTER
-- escapes: yes
SELECT\u00a0COUNT(*) FROM visits

-- name: ideographic-space
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM\u3000visits

-- name: line-separator
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM visits -- comment\u2028WHERE fee_yuan > 1

-- name: vertical-tab
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*)\x0bFROM visits

-- name: escape-character
-- refuse: CHARACTER
-- escapes: yes
SELECT COUNT(*) FROM visits -- \x1b[2J

-- name: homoglyph-table
-- refuse: UNKNOWN_TABLE
-- escapes: yes
SELECT COUNT(*) FROM v\u0456sits

-- name: full-width-table
-- refuse: UNKNOWN_TABLE
SELECT COUNT(*) FROM ｖｉｓｉｔｓ

-- name: decomposed-column
-- refuse: UNKNOWN_COLUMN
-- escapes: yes
SELECT SUM(fe\u0301e_yuan) FROM visits

-- name: full-width-parenthesis
-- refuse: ARITHMETIC
SELECT COUNT（*） FROM visits

-- name: quoted-empty-name
-- refuse: SYNTAX
SELECT COUNT(*) FROM ""

-- name: quoted-injection-table
-- refuse: UNKNOWN_TABLE
SELECT COUNT(*) FROM "visits"" ; DROP TABLE visits; --"

-- name: quoted-injection-column
-- refuse: UNKNOWN_COLUMN
SELECT SUM("fee_yuan) FROM visits; --") FROM visits

-- name: data-as-name
-- refuse: UNKNOWN_COLUMN
SELECT COUNT("239902196203215088") FROM visits

-- name: long-alias
-- refuse: NAME_TOO_LONG
SELECT COUNT(*) AS ⟦5000×n⟧ FROM visits

-- name: long-text
-- refuse: TOO_LARGE
SELECT COUNT(*) FROM visits WHERE diagnosis = '⟦70000×x⟧'

-- name: long-comment
-- refuse: TOO_LARGE
SELECT COUNT(*) FROM visits /* ⟦70000×x⟧ */

-- name: deep-parentheses
-- refuse: TOO_LARGE
SELECT COUNT(*) FROM visits WHERE ⟦150×(fee_yuan > 0 AND (fee_yuan < 9 OR ⟧fee_yuan > 1⟦150×))⟧

-- name: deeper-parentheses
-- refuse: SYNTAX
SELECT COUNT(*) FROM visits WHERE ⟦1500×(fee_yuan > 0 AND (fee_yuan < 9 OR ⟧fee_yuan > 1⟦1500×))⟧

-- name: deep-not
-- refuse: SYNTAX
SELECT COUNT(*) FROM visits WHERE ⟦3000×NOT ⟧(fee_yuan > 1)

-- name: deep-function
-- refuse: TOO_LARGE
SELECT ⟦900×abs(⟧SUM(fee_yuan)⟦900×)⟧ FROM visits

-- name: deep-comment
-- refuse: TOO_LARGE
SELECT COUNT(*) FROM visits ⟦20000×/*⟧⟦20000×*/⟧

-- name: many-conditions
-- refuse: TOO_LARGE
SELECT COUNT(*) FROM visits WHERE fee_yuan = 0⟦3000× OR fee_yuan = 1⟧

-- name: many-in-values
-- refuse: TOO_LARGE
SELECT COUNT(*) FROM visits WHERE fee_yuan IN (0⟦9000×, 1⟧)

-- name: many-outputs
-- refuse: TOO_LARGE
SELECT COUNT(*)⟦4000×, SUM(fee_yuan)⟧ FROM visits

-- name: many-joins
-- refuse: TOO_LARGE
SELECT COUNT(*) FROM population⟦99× LEFT JOIN districts ON district = code⟧

-- name: many-unions
-- refuse: SET_OPERATION
SELECT COUNT(*) FROM visits⟦1500× UNION ALL SELECT COUNT(*) FROM visits⟧

-- name: many-statements
-- refuse: MULTIPLE_STATEMENTS
SELECT COUNT(*) FROM visits⟦1500×; SELECT COUNT(*) FROM visits⟧

-- name: huge-number
-- refuse: LITERAL_TYPE
SELECT COUNT(*) FROM visits WHERE fee_yuan > ⟦400×9⟧

-- name: float-literal
-- refuse: LITERAL_TYPE
SELECT COUNT(*) FROM visits WHERE fee_yuan > 1e308
