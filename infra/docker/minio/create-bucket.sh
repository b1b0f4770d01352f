#!/bin/sh
# Creates the bucket and the key pair that the project works with; safe to run again.
set -eu

mc alias set local "$MINIO_URL" "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD"
mc mb --ignore-existing "local/$S3_BUCKET"

# The project's key may use this bucket and nothing else; the root key stays in MinIO.
# Shell built-ins only: the image has little more than mc.
printf '%s' "{
  \"Version\": \"2012-10-17\",
  \"Statement\": [
    {
      \"Effect\": \"Allow\",
      \"Action\": [\"s3:ListBucket\", \"s3:GetBucketLocation\"],
      \"Resource\": [\"arn:aws:s3:::$S3_BUCKET\"]
    },
    {
      \"Effect\": \"Allow\",
      \"Action\": [\"s3:GetObject\", \"s3:PutObject\", \"s3:DeleteObject\", \"s3:AbortMultipartUpload\"],
      \"Resource\": [\"arn:aws:s3:::$S3_BUCKET/*\"]
    }
  ]
}" >/tmp/policy.json
mc admin user add local "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
mc admin policy create local mmcore /tmp/policy.json

# Attaching what is attached already is an error to mc, so it is asked first.
case "$(mc admin policy entities local --policy mmcore)" in
*"$AWS_ACCESS_KEY_ID"*) ;;
*) mc admin policy attach local mmcore --user "$AWS_ACCESS_KEY_ID" ;;
esac
