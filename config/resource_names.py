"""The types and names of Pulumi resources. Commands find resources in a plan or a state by them."""

STACK = "pulumi:pulumi:Stack"
STASH = "pulumi:index:Stash"
COMPONENTS = "oss-registry:index:"  # the beginning of the types of our components
PROVIDERS = "pulumi:providers:"

CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
SERVICE = "docker:index/service:Service"
SWARM_CONFIG = "docker:index/serviceConfig:ServiceConfig"
SWARM_SECRET = "docker:index/secret:Secret"
VOLUME = "docker:index/volume:Volume"
# The types of resources that only one runtime has.
RUNTIME_TYPES = {"container": {CONTAINER}, "swarm": {SERVICE, SWARM_SECRET, SWARM_CONFIG}}

ACCESS_KEY = "alicloud:ram/accessKey:AccessKey"
BUCKET = "alicloud:oss/bucket:Bucket"
RAM_POLICY = "alicloud:ram/policy:Policy"
RAM_POLICY_ATTACHMENT = "alicloud:ram/userPolicyAttachment:UserPolicyAttachment"
RAM_USER = "alicloud:ram/user:User"

REGISTRY = "registry"  # the container or service of the registry that clients push to
REDIS = "redis"
DATA_VOLUME = "data"
ACCESS_KEY_PREFIX = "access-key-"  # before the label of an access key
