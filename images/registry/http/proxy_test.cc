#include "images/registry/http/proxy.h"

#include <gtest/gtest.h>

#include "images/store/values/base64.h"

namespace registry {
namespace {

Proxies proxies(const std::string& none = "") {
  auto made = Proxies::make({.http = "http://h:1", .https = "http://s:2", .none = none});
  EXPECT_TRUE(made) << made.error().message;
  return *std::move(made);
}

bool goes_by_proxy(const std::string& none, const std::string& url) {
  return proxies(none).proxy_for(*Url::parse(url)) != nullptr;
}

TEST(Proxies, GoByTheSchemeOfTheUrl) {
  const Proxies both = proxies();

  EXPECT_EQ(both.proxy_for(*Url::parse("http://example.com"))->url.host, "h");
  EXPECT_EQ(both.proxy_for(*Url::parse("https://example.com"))->url.port, 2);
  EXPECT_EQ(Proxies().proxy_for(*Url::parse("https://example.com")), nullptr);
}

TEST(Proxies, AreNotForTheLoopback) {
  for (const char* url : {"http://localhost:5000", "http://127.0.0.1", "https://127.9.9.9:443",
                          "http://[::1]:80", "https://LOCALHOST"})
    EXPECT_FALSE(goes_by_proxy("", url)) << url;
}

TEST(Proxies, LeaveOutWhatNoProxyNames) {
  const std::string none =
      "example.com, .below.org ,10.0.0.0/8,192.168.1.1,port.net:8080,[fd00::1]:5000";

  for (const char* url : {"http://example.com", "https://a.b.example.com", "http://EXAMPLE.com",
                          "http://x.below.org", "https://10.1.2.3", "http://192.168.1.1:5000",
                          "http://port.net:8080", "http://[fd00::1]:5000"})
    EXPECT_FALSE(goes_by_proxy(none, url)) << url;
  for (const char* url : {"http://badexample.com", "http://below.org", "https://11.1.2.3",
                          "http://port.net", "https://example.com.org", "http://[fd00::1]"})
    EXPECT_TRUE(goes_by_proxy(none, url)) << url;
  EXPECT_FALSE(goes_by_proxy("a,*", "http://anything"));
  EXPECT_TRUE(goes_by_proxy(" , ,", "http://anything"));
}

TEST(Proxies, TakeAUserAndShowNoPassword) {
  const auto made = Proxies::make({.http = "me:p%40ss:w@proxy:3128/", .https = "", .none = ""});

  ASSERT_TRUE(made);
  const Proxy* proxy = made->proxy_for(*Url::parse("http://example.com"));
  ASSERT_NE(proxy, nullptr);
  EXPECT_EQ(proxy->url.text(), "http://proxy:3128/");
  EXPECT_EQ(proxy->authorization, "Basic " + images::to_base64("me:p@ss:w"));
  EXPECT_EQ(made->http_text(), "http://xxxxx:xxxxx@proxy:3128");
}

TEST(Proxies, RefuseWhatIsNone) {
  for (const char* bad : {"https://p:1", "socks5://p:1", "http://", "http://a b", "p:99999"}) {
    const auto made = Proxies::make({.http = "", .https = bad, .none = ""});
    ASSERT_FALSE(made) << bad;
    EXPECT_EQ(made.error().code, base::Code::kInvalidArgument);
  }
  for (const char* bad : {"ftp://me:secret@p", "http://me:secret/2@p", "me:secret@p:x"}) {
    const auto made = Proxies::make({.http = bad, .https = "", .none = ""});
    ASSERT_FALSE(made) << bad;
    EXPECT_EQ(made.error().message.find("secret"), std::string::npos) << bad;
  }
}

}  // namespace
}  // namespace registry
