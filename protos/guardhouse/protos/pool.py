"""The descriptor pool of the generated modules beside this file.

Several packages register ``inference.*`` in protobuf's default pool, which takes a name once: the second
import in a process fails. A pool of our own lets these modules be imported beside any of them, in either
order. Nothing changes on the wire. Server reflection and ``json_format`` of ``Any`` must be given this pool.
"""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
