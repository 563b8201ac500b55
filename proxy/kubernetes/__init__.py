"""Backstay in pods: one pure function puts the sidecar in; a filter (``backstay inject``) and a webhook call it.

annotations of a pod          -> Wish           annotations.py: what is asked for, or what is wrong with it
an installation               -> Installation   settings.py: the image, and what holds for pods that say nothing
a configuration               -> Supply         supply.py: carried by the pod itself, or in a ConfigMap beside it
(pod, wish, installation, supply) -> Patch | Skipped, or Refused     inject.py: JSON Patch (RFC 6902), nothing else

manifests.py   any workload, in any stream of manifests    review.py    AdmissionReview in, AdmissionReview out
edits.py       their text, changed where it must be        webhook.py   reviews over HTTP
filter.py      `backstay inject`                           injector.py  `backstay injector`, the process
                                                           cluster.py   the one question to the API server
"""
