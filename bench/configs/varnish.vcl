vcl 4.1;
# It retries where nothing was sent, has no breaker, and limits no rates. The second way is through its cache, one
# partition for each Authorization, as Backstay's are.
backend upstream {
  .host = "127.0.0.1";
  .port = "@UPSTREAM_PORT@";
  .connect_timeout = 2s;
  .first_byte_timeout = @FIRST_BYTE_MS_AS_S@s;
}
sub vcl_recv {
  if (local.socket == "plain" || (req.method != "GET" && req.method != "HEAD")) { return (pass); }
  return (hash);
}
sub vcl_hash {
  hash_data(req.http.Authorization);
}
