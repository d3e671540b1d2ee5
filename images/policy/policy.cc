#include "images/policy/policy.h"

#include <array>

#include "images/policy/strict_json.h"
#include "images/store/values/base64.h"

namespace images {

using nlohmann::json;

namespace {

using Rule = SignedIdentity::Rule;

base::Error not_supported(const std::string& where, const std::string& what) {
  return {base::Code::kNotSupported, where + ": " + what + " is not supported by this host"};
}

base::Result<SignedIdentity> parse_identity(const json& value, const std::string& where) {
  struct Form {
    const char* type;
    Rule rule;
    const char* name;  // the key of its name, if it has one
  };
  static constexpr std::array kForms = {
      Form{"matchExact", Rule::kMatchExact, nullptr},
      Form{"matchRepoDigestOrExact", Rule::kMatchRepoDigestOrExact, nullptr},
      Form{"matchRepository", Rule::kMatchRepository, nullptr},
      Form{"exactReference", Rule::kExactReference, "dockerReference"},
      Form{"exactRepository", Rule::kExactRepository, "dockerRepository"},
      Form{"remapIdentity", Rule::kRemapIdentity, "prefix"},
  };
  StrictObject object(value, where + ": \"signedIdentity\"");
  const std::string type = object.need_text("type");
  SignedIdentity identity;
  bool known = false;
  for (const Form& form : kForms) {
    if (type != form.type) continue;
    known = true;
    identity.rule = form.rule;
    if (form.name) identity.name = object.need_text(form.name);
  }
  if (!known) object.fail("Unknown policy reference match type \"" + type + "\"");
  if (identity.rule == Rule::kRemapIdentity)
    identity.signed_prefix = object.need_text("signedPrefix");
  RETURN_IF_ERROR(object.done());
  // A name that could never match is a mistake. A prefix is not checked: it may be a host alone,
  // which is no reference.
  if (identity.rule == Rule::kExactReference || identity.rule == Rule::kExactRepository) {
    const auto reference = Reference::parse(identity.name);
    const bool tagged = reference && !(reference->tag().empty() && reference->digest().empty());
    if (!reference || tagged != (identity.rule == Rule::kExactReference))
      return base::Error{base::Code::kInvalidArgument,
                         where + ": invalid name \"" + identity.name + "\" in \"signedIdentity\""};
  }
  return identity;
}

void add_data(StrictObject& object, const std::vector<std::string>& texts, Requirement& result) {
  for (const std::string& text : texts) {
    auto decoded = from_base64(text);
    if (!decoded) object.fail("key data is not base64");
    result.key_data.push_back(std::move(decoded).value_or(std::string()));
  }
}

/// keyPath, keyPaths, keyData, keyDatas: exactly one of them.
void parse_keys(StrictObject& object, bool many_data, Requirement& result) {
  int sources = 0;
  if (auto path = object.text("keyPath")) {
    result.key_paths.push_back(*std::move(path));
    ++sources;
  }
  if (auto paths = object.texts("keyPaths"); !paths.empty()) {
    result.key_paths = std::move(paths);
    ++sources;
  }
  if (const auto data = object.text("keyData")) {
    add_data(object, {*data}, result);
    ++sources;
  }
  if (const auto data = many_data ? object.texts("keyDatas") : std::vector<std::string>();
      !data.empty()) {
    add_data(object, data, result);
    ++sources;
  }
  if (sources != 1)
    object.fail(many_data
                    ? "exactly one of keyPath, keyPaths, keyData and keyDatas must be specified"
                    : "exactly one of keyPath, keyPaths and keyData must be specified");
}

/// What asks for more than a key: the certificate authority and the log of keyless signatures.
base::Result<void> refuse_keyless(StrictObject& object, const std::string& where) {
  for (const char* key : {"fulcio", "rekorPublicKeyPath", "rekorPublicKeyPaths",
                          "rekorPublicKeyData", "rekorPublicKeyDatas", "pki"})
    if (object.find(key))
      return not_supported(where, "\"" + std::string(key) +
                                      "\" (sigstore signatures are checked with public keys only)");
  return {};
}

base::Result<Requirement> parse_requirement(const json& value, const std::string& where) {
  StrictObject object(value, where);
  Requirement requirement;
  const std::string type = object.need_text("type");
  if (type == "insecureAcceptAnything") {
    requirement.type = Requirement::Type::kAcceptAnything;
  } else if (type == "reject") {
    requirement.type = Requirement::Type::kReject;
  } else if (type == "signedBy") {
    requirement.type = Requirement::Type::kSignedBy;
    const std::string key_type = object.need_text("keyType");
    if (key_type == "signedByGPGKeys" || key_type == "X509Certificates" ||
        key_type == "signedByX509CAs")
      return not_supported(where, "\"keyType\" \"" + key_type + "\"");
    if (key_type != "GPGKeys") object.fail("invalid \"keyType\" value \"" + key_type + "\"");
    parse_keys(object, false, requirement);
  } else if (type == "sigstoreSigned") {
    requirement.type = Requirement::Type::kSigstoreSigned;
    RETURN_IF_ERROR(refuse_keyless(object, where));
    parse_keys(object, true, requirement);
  } else {
    object.fail("Unknown policy requirement type \"" + type + "\"");
  }
  if (requirement.needs_signatures()) {
    if (const json* identity = object.find("signedIdentity")) {
      auto parsed = parse_identity(*identity, where);
      if (!parsed) return std::move(parsed).error();
      requirement.identity = *std::move(parsed);
    }
  }
  RETURN_IF_ERROR(object.done());
  return requirement;
}

base::Result<std::vector<Requirement>> parse_requirements(const json& list,
                                                          const std::string& where) {
  if (!list.is_array() || list.empty())
    return base::Error{base::Code::kInvalidArgument,
                       where + ": List of verification policy requirements must not be empty"};
  std::vector<Requirement> requirements;
  for (const json& value : list) {
    auto requirement = parse_requirement(value, where);
    if (!requirement) return std::move(requirement).error();
    requirements.push_back(*std::move(requirement));
  }
  return requirements;
}

std::string scope_name(const std::string& transport, const std::string& scope) {
  if (scope.empty()) return "the default of transport \"" + transport + "\"";
  return "scope \"" + scope + "\" of transport \"" + transport + "\"";
}

/// These transports' images have no name that could be a scope.
bool takes_no_scope(const std::string& transport) {
  return transport == kArchiveTransport || transport == kTarballTransport;
}

void add_wildcards(std::string_view host, std::vector<std::string>& scopes) {
  host = host.substr(0, host.find(':'));
  for (std::size_t dot = host.find('.'); dot != std::string_view::npos; dot = host.find('.')) {
    host.remove_prefix(dot + 1);
    scopes.push_back("*." + std::string(host));
  }
}

}  // namespace

base::Result<Policy> Policy::parse(std::string_view text) {
  const auto parsed = parse_strict_json(text, kMaxBytes);
  if (!parsed) return parsed.error();
  StrictObject object(*parsed, "signature policy");
  Policy policy;
  const json& fallback = object.need("default");
  const json* transports = object.find("transports");
  RETURN_IF_ERROR(object.done());
  auto requirements = parse_requirements(fallback, "\"default\"");
  if (!requirements) return std::move(requirements).error();
  policy.default_ = *std::move(requirements);
  if (!transports) return policy;
  if (!transports->is_object())
    return base::Error{base::Code::kInvalidArgument, "\"transports\" is not a JSON object"};
  for (const auto& [transport, scopes] : transports->items()) {
    if (!scopes.is_object())
      return base::Error{base::Code::kInvalidArgument,
                         "transport \"" + transport + "\" is not a JSON object"};
    for (const auto& [scope, list] : scopes.items()) {
      if (!scope.empty() && takes_no_scope(transport))
        return base::Error{base::Code::kInvalidArgument,
                           "transport \"" + transport +
                               "\" does not support any scopes except the default \"\" one"};
      auto required = parse_requirements(list, scope_name(transport, scope));
      if (!required) return std::move(required).error();
      policy.transports_[transport][scope] = *std::move(required);
    }
  }
  return policy;
}

std::vector<std::string> scopes_of(const Origin& origin) {
  std::vector<std::string> scopes;
  const auto reference = Reference::parse(origin.reference);
  if (!reference || takes_no_scope(origin.transport)) return scopes;
  // Of a name with tag and digest, the digest counts.
  if (!reference->digest().empty()) {
    scopes.push_back(reference->repository() + "@" + reference->digest());
  } else if (!reference->tag().empty()) {
    scopes.push_back(reference->repository() + ":" + reference->tag());
  }
  std::string name = reference->repository();
  while (true) {
    scopes.push_back(name);
    const std::size_t slash = name.rfind('/');
    if (slash == std::string::npos) break;
    name.resize(slash);
  }
  add_wildcards(reference->domain(), scopes);
  return scopes;
}

Policy::Match Policy::find(const Origin& origin) const {
  if (const auto transport = transports_.find(origin.transport); transport != transports_.end()) {
    std::vector<std::string> scopes = scopes_of(origin);
    scopes.emplace_back();  // the transport's default
    for (const std::string& scope : scopes)
      if (const auto found = transport->second.find(scope); found != transport->second.end())
        return {found->second, scope_name(origin.transport, scope)};
  }
  return {default_, "the default"};
}

}  // namespace images
