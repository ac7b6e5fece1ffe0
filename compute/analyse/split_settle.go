package analyse

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/policies"
)

// What the statement around the core may be made of. Everything else is refused:
// what a later parser adds is not known to be harmless until somebody says so.
var (
	postNodes = []string{"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "BASE_TABLE", "JOIN", "SUBQUERY", "TABLE_FUNCTION",
		"EXPRESSION_LIST", "EMPTY", "ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER",
		"ORDER_DEFAULT", "ASCENDING", "DESCENDING"}
	postClasses = []string{"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION",
		"LAMBDA", "OPERATOR", "STAR", "SUBQUERY", "WINDOW", "POSITIONAL_REFERENCE"}
	// Functions whose result is not decided by their arguments, or that look at the
	// engine itself. The jail holds without this list; with it, an answer is the
	// same whenever it is fetched.
	postForbidden = []string{"random", "setseed", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "now", "today", "get_current_time",
		"get_current_timestamp", "current_date", "current_time", "current_timestamp", "current_localtime", "current_localtimestamp",
		"transaction_timestamp", "localtime", "localtimestamp", "age", "txid_current", "current_setting", "getvariable", "set_config", "getenv",
		"current_database", "current_catalog", "current_schema", "current_schemas", "current_user", "session_user", "user", "current_role",
		"current_query", "current_query_id", "current_connection_id", "current_transaction_id", "version", "pg_backend_pid", "nextval", "currval",
		"query", "query_table", "write_log", "json_serialize_sql", "json_serialize_plan", "json_deserialize_sql", "json_execute_serialized_sql",
		"parse_duckdb_log_message", "sleep_ms", "stats", "in_search_path", "create_sort_key", "vector_type", "error"}
)

// withNames collects the WITH names that are left in a tree.
func withNames(v any, into []string) []string {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			into = withNames(child, into)
		}
	case object:
		for field, child := range v {
			if holder, ok := child.(object); ok && field == "cte_map" {
				items, _ := holder["map"].([]any)
				for _, item := range items {
					o, _ := item.(object)
					name, _ := o["key"].(string)
					into = append(into, name)
				}
			}
			into = withNames(child, into)
		}
	}
	return into
}

// settle checks the rewritten tree node by node, puts parameters in, and spells
// floating-point literals as casts, which the engine prints and reads back alike.
func (s *splitter) settle(v any, with []string) (any, *policies.Reason) {
	switch v := v.(type) {
	case []any:
		for i := range v {
			e, r := s.settle(v[i], with)
			if r != nil {
				return nil, r
			}
			v[i] = e
		}
		return v, nil
	case object:
		if v["class"] == "PARAMETER" {
			return s.parameter(v)
		}
		if v["class"] == "CONSTANT" {
			return s.constant(v), nil
		}
		if r := s.allowed(v, with); r != nil {
			return nil, r
		}
		for _, field := range slices.Sorted(maps.Keys(v)) {
			if field == "cast_type" || field == "named_param_map" {
				continue
			}
			e, r := s.settle(v[field], with)
			if r != nil {
				return nil, r
			}
			v[field] = e
		}
	}
	return v, nil
}

// foreignFunction says whether a function asks for the catalogue, rights or state of
// the engine itself.
func foreignFunction(name string) bool {
	return slices.ContainsFunc([]string{"pg_", "duckdb_", "has_", "inet_", "current_"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

func (s *splitter) allowed(v object, with []string) *policies.Reason {
	class, isExpression := v["class"].(string)
	typ, isNode := v["type"].(string)
	switch {
	case isExpression && !slices.Contains(postClasses, class), !isExpression && isNode && !slices.Contains(postNodes, typ):
		return s.d.refuse("UNSUPPORTED", offset(v))
	}
	if name, ok := v["function_name"].(string); ok {
		schema, _ := v["schema"].(string)
		if v["catalog"] != "" || schema != "" && schema != "main" || slices.Contains(postForbidden, lowered(name)) || foreignFunction(lowered(name)) {
			return s.d.refuse("POST_FUNCTION", offset(v), name)
		}
	}
	// CURRENT_DATE and its like are written as names; the parser leaves it to the
	// engine whether a column or the function is meant.
	if names, _ := v["column_names"].([]any); class == "COLUMN_REF" && len(names) == 1 {
		if name, _ := names[0].(string); slices.Contains(postForbidden, lowered(name)) {
			return s.d.refuse("POST_FUNCTION", offset(v), name)
		}
	}
	if v["sample"] != nil {
		return s.d.refuse("SAMPLE", s.d.keyword("SAMPLE"))
	}
	if isExpression {
		return nil
	}
	switch typ {
	case "BASE_TABLE":
		schema, name := s.d.str(v, "schema_name"), s.d.str(v, "table_name")
		ours := schema == "main" && name == "released" && s.core != nil
		own := sameName(schema, releasesSchema) && slices.Contains(s.releases, name)
		named := schema == "" && slices.ContainsFunc(with, func(w string) bool { return sameName(w, name) })
		if s.d.str(v, "catalog_name") != "" || v["at_clause"] != nil || !ours && !own && !named {
			return s.d.refuse("POST_TABLE", offset(v))
		}
	case "TABLE_FUNCTION":
		if !slices.Contains(tableFunctions, lowered(s.d.str(s.d.obj(v, "function"), "function_name"))) {
			return s.d.refuse("POST_TABLE", offset(v))
		}
	}
	return nil
}

// parameter puts a value in as a text literal, which the engine types by what
// stands around it.
func (s *splitter) parameter(v object) (any, *policies.Reason) {
	i, err := strconv.Atoi(s.d.str(v, "identifier"))
	if err != nil || i < 1 || i > len(s.params) {
		return nil, s.d.refuse("POST_PARAMETER", s.d.placeholder())
	}
	return textLiteral(v, s.params[i-1]), nil
}

func textLiteral(v object, value string) object {
	return object{"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": v["alias"], "query_location": v["query_location"],
		"value": object{"type": object{"id": "VARCHAR", "type_info": nil}, "is_null": false, "value": value}}
}

func (s *splitter) constant(v object) object {
	value := s.d.obj(v, "value")
	if id := s.d.obj(value, "type")["id"]; id != "DOUBLE" && id != "FLOAT" || s.d.flag(value, "is_null") {
		return v
	}
	spelt := ""
	switch n := value["value"].(type) {
	case string:
		spelt = n
	default:
		if number, ok := n.(interface{ String() string }); ok {
			spelt = number.String()
		}
	}
	child := textLiteral(v, spelt)
	child["alias"] = ""
	return object{"class": "CAST", "type": "OPERATOR_CAST", "alias": v["alias"], "query_location": v["query_location"], "child": child,
		"cast_type": object{"id": "DOUBLE", "type_info": nil}, "try_cast": false}
}
