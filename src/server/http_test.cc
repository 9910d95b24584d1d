#include "server/http.h"

#include <gtest/gtest.h>

#include "server/request_head.h"
#include "server/routes.h"

namespace quire {
namespace {

HttpRequest request_with(std::vector<HttpHeader> headers) {
  HttpRequest request;
  request.headers = std::move(headers);
  return request;
}

TEST(ConstantTimeEquals, ComparesWholeStrings) {
  EXPECT_TRUE(equals_in_constant_time("secret", "secret"));
  EXPECT_TRUE(equals_in_constant_time("", ""));
  EXPECT_FALSE(equals_in_constant_time("secret", "secre"));
  EXPECT_FALSE(equals_in_constant_time("secre", "secret"));
  EXPECT_FALSE(equals_in_constant_time("secretsecret", "secret"));
  EXPECT_FALSE(equals_in_constant_time("secret", ""));
  EXPECT_FALSE(equals_in_constant_time("", "secret"));
}

TEST(SerializeHead, DelimitsTheBodyAsAsked) {
  const std::string sized = serialize_head(
      {.status = 200, .content_type = "a/b", .content_length = 7, .request_id = "r1"});
  EXPECT_TRUE(sized.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_NE(sized.find("Content-Length: 7\r\n"), std::string::npos);
  EXPECT_NE(sized.find("X-Request-Id: r1\r\n"), std::string::npos);
  EXPECT_TRUE(sized.ends_with("\r\n\r\n"));
  const std::string chunked = serialize_head({.content_type = "a/b",
                                              .framing = BodyFraming::kChunked,
                                              .keep_alive = false,
                                              .request_id = {}});
  EXPECT_NE(chunked.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_NE(chunked.find("Connection: close\r\n"), std::string::npos);
  EXPECT_EQ(chunked.find("Content-Length"), std::string::npos);
}

TEST(AppendChunk, WritesSizeInHex) {
  std::string out;
  append_chunk(out, std::string(26, 'x'));
  EXPECT_EQ(out, "1a\r\n" + std::string(26, 'x') + "\r\n");
}

TEST(PathOfTarget, DecodesAndStrips) {
  EXPECT_EQ(path_of_target("/v1/models/a%2Fb?x=1"), "/v1/models/a/b");
  EXPECT_EQ(path_of_target("http://host:1/health?x"), "/health");
  EXPECT_EQ(path_of_target("http://host"), "/");
  EXPECT_EQ(path_of_target("*"), "*");
  EXPECT_EQ(path_of_target("/a%2"), std::nullopt);
  EXPECT_EQ(path_of_target("/a%zz"), std::nullopt);
  EXPECT_EQ(path_of_target("/a%00b"), std::nullopt);
  EXPECT_EQ(path_of_target("health"), std::nullopt);
}

TEST(CheckHead, RefusesWhatCanBeReadInTwoWays) {
  EXPECT_FALSE(check_head({}, request_with({{"Host", "h"}})).has_value());
  EXPECT_EQ(check_head({}, request_with({}))->status, 400);
  EXPECT_EQ(check_head({}, request_with({{"Host", "h"}, {"host", "g"}}))->status, 400);
  EXPECT_FALSE(check_head({.http_1_0 = true}, request_with({})).has_value());
  EXPECT_EQ(
      check_head({.chunked = false}, request_with({{"Host", "h"}, {"Transfer-Encoding", "gzip"}}))
          ->status,
      400);
  EXPECT_EQ(check_head({.chunked = true},
                       request_with({{"Host", "h"}, {"Transfer-Encoding", "gzip, chunked"}}))
                ->status,
            400);
  EXPECT_EQ(check_head({}, request_with({{"Host", "h"}, {"Content-Encoding", "gzip"}}))->status,
            400);
  EXPECT_EQ(check_head({}, request_with({{"Host", "h"}, {"Expect", "magic"}}))->status, 417);
  std::vector<HttpHeader> many(101, HttpHeader{"X-A", "1"});
  many.push_back({"Host", "h"});
  EXPECT_EQ(check_head({}, request_with(std::move(many)))->status, 431);
}

TEST(ChooseRequestId, KeepsPrintableIdsOnly) {
  EXPECT_EQ(choose_request_id("abc-1"), "abc-1");
  EXPECT_EQ(choose_request_id("a b").size(), 32U);
  EXPECT_EQ(choose_request_id(std::string(129, 'a')).size(), 32U);
  EXPECT_NE(choose_request_id(""), choose_request_id(""));
}

TEST(Routes, HaveOneHandlerEach) {
  for (const Route& route : routes()) {
    EXPECT_NE(route.answer == nullptr, route.prepare == nullptr) << route.path;
    EXPECT_EQ(find_route(route.method, route.path).route, &route) << route.path;
  }
}

TEST(Routes, MatchModelIdsWithSlashes) {
  EXPECT_NE(find_route("GET", "/v1/models/org/name").route, nullptr);
  EXPECT_EQ(find_route("GET", "/v1/models/").route, nullptr);
  EXPECT_NE(find_route("HEAD", "/health").route, nullptr);
  const RouteMatch wrong_method = find_route("GET", "/v1/completions");
  EXPECT_EQ(wrong_method.route, nullptr);
  EXPECT_EQ(wrong_method.allowed_methods, "POST, OPTIONS");
  EXPECT_TRUE(find_route("GET", "/nowhere").allowed_methods.empty());
}

}  // namespace
}  // namespace quire
